"""An installation of any size for measuring: mostly experiments, a third datasets, the rest projects and quotas."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

PER_PROJECT = 200
HEAD = "apiVersion: reconciler.mlops/v1\n"


def build(folder: Path, size: int) -> None:
    """Write `size` manifests with their data below `folder`: one file per project and kind."""
    manifests = folder / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "platform.yaml").write_text(f"{HEAD}kind: Platform\nmetadata: {{name: bench}}\nspec: {{installation: bench}}\n")
    left, number = size - 1, 0
    while left > 0:
        count = min(left, PER_PROJECT)
        _project(folder, manifests, f"team-{number:03d}", count)
        left, number = left - count, number + 1


def _project(folder: Path, manifests: Path, name: str, count: int) -> None:
    data = folder / "code" / name / "data"
    data.mkdir(parents=True)
    quota = 1 if count > 1 else 0
    datasets = int((count - 1 - quota) * 0.375)
    experiments = count - 1 - quota - datasets
    place = manifests / name
    place.mkdir()
    project = f"{HEAD}kind: Project\nmetadata: {{name: {name}}}\nspec: {{path: code/{name}, owners: [bench@example.org]}}\n"
    share = f"---\n{HEAD}kind: ResourceQuota\nmetadata: {{name: share, project: {name}}}\nspec: {{nominal: {{memory: 4Gi}}}}\n"
    (place / "project.yaml").write_text(project + (share if quota else ""))
    for index in range(datasets):
        (data / f"part-{index:04d}.csv").write_text(f"id,value\n{index},{name}\n" * 20)
    (place / "data.yaml").write_text("---\n".join(_dataset(name, index) for index in range(datasets)))
    (place / "experiments.yaml").write_text("---\n".join(_experiment(name, index, datasets) for index in range(experiments)))


def _dataset(project: str, index: int) -> str:
    meta = f"{{name: part-{index:04d}, project: {project}, labels: {{team: bench}}}}"
    return f"{HEAD}kind: Dataset\nmetadata: {meta}\nspec: {{path: data/part-{index:04d}.csv, settle: 0s}}\n"


def _experiment(project: str, index: int, datasets: int) -> str:
    uses = f"\n  datasets: [part-{index % datasets:04d}]" if datasets else ""
    return (
        f"{HEAD}kind: Experiment\nmetadata: {{name: sweep-{index:04d}, project: {project}}}\n"
        f"spec:\n  description: Sweep {index} of {project}\n  tags: {{owner: bench, number: '{index}'}}\n"
        f"  metric: {{name: accuracy}}\n  techniques: [lora, distillation]{uses}\n"
    )


def terraform(folder: Path, size: int) -> None:
    """The same number of `terraform_data` resources, the cheapest that Terraform has: they call no remote at all.

    The state is written as `terraform apply` would leave it (state format 4); applying 10,000 resources takes longer than 10 minutes."""
    folder.mkdir(parents=True)
    blocks = (f'resource "terraform_data" "r{index}" {{\n  input = {json.dumps(_input(index))}\n}}\n' for index in range(size))
    (folder / "main.tf").write_text("\n".join(blocks).replace('": "', '" = "'))
    state = {"version": 4, "terraform_version": "1.0.0", "serial": 1, "lineage": str(uuid.UUID(int=size)), "outputs": {}}
    (folder / "terraform.tfstate").write_text(json.dumps({**state, "resources": [_applied(index) for index in range(size)]}))


def _input(index: int) -> dict[str, str]:
    return {"name": f"sweep-{index}", "owner": "bench", "number": str(index)}


def _applied(index: int) -> dict[str, object]:
    value = {"value": _input(index), "type": ["object", dict.fromkeys(_input(index), "string")]}
    attributes = {"id": str(uuid.UUID(int=index)), "input": value, "output": value, "triggers_replace": None}
    return {
        "mode": "managed",
        "type": "terraform_data",
        "name": f"r{index}",
        "provider": 'provider["terraform.io/builtin/terraform"]',
        "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}],
    }
