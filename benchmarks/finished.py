"""Finished runs by the ten thousand. They cannot all be launched for a measurement, so all but one are written into MLflow's database.

One run is launched for real. What it has in MLflow at its end beyond its identity (metrics, receipts, the machine it ran on) is the
pattern for all others; which runs must exist, and the tags, parameters and inputs of each, come from the code that would launch them."""

from __future__ import annotations

import random
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.site import Site
from controllers.runs import launch
from reconciler.controller import Context
from reconciler.house import open_house
from reconciler.loop import propose
from reconciler.model import Blocked, Create, Resource
from reconciler.selection import Selection
from reconciler.settings import Settings

SEEDS = 4
PROGRAM = """import argparse, json, pathlib
parser = argparse.ArgumentParser()
for name in ("data", "seed", "out"):
    parser.add_argument(f"--{name}", default="")
given = parser.parse_args()
out = pathlib.Path(given.out)
out.mkdir(parents=True, exist_ok=True)
(out / "metrics.json").write_text(json.dumps({"accuracy": 0.9 + int(given.seed) / 1000, "loss": 0.1, "rows": 20}))
"""
RUNS = "  runs: {{entrypoint: train.py, seeds: {}, resources: {{memory: 256Mi, cpu: 100m, duration: 5s}}}}\n"
_RUNS, _BETWEEN = re.compile(r"^  runs: .*\n", re.MULTILINE), re.compile(r"^---\n", re.MULTILINE)
_TABLES = {
    "runs": (
        "run_uuid name source_type source_name entry_point_name user_id status start_time end_time source_version lifecycle_stage "
        "artifact_uri experiment_id"
    ),
    "tags": "key value run_uuid",
    "params": "key value run_uuid",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "metrics": "key value timestamp step is_nan run_uuid",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
}
"""Columns that are written; source: mlflow.store.tracking.dbmodels.models of MLflow 3.17."""


@dataclass(frozen=True)
class Pattern:
    """A run as MLflow holds it after its end: every row of it, by table."""

    run: Mapping[str, Any]
    tags: Mapping[str, str]
    latest: Sequence[Sequence[Any]]
    metrics: Sequence[Sequence[Any]]


def declare(site: Site, seeds: Sequence[int], most: int) -> None:
    """Give the first `most` experiments of the estate runs, one for each seed."""
    for file in sorted(site.root.glob("manifests/*/experiments.yaml")):
        (site.root / "code" / file.parent.name / "train.py").write_text(PROGRAM, encoding="utf-8")
        documents = [_RUNS.sub("", each) for each in _BETWEEN.split(file.read_text(encoding="utf-8"))]
        file.write_text("---\n".join(each + RUNS.format(list(seeds)) if n < most else each for n, each in enumerate(documents)))
        most = max(0, most - len(documents))


def planned(site: Site) -> tuple[Context, list[Resource[Any]]]:
    """The runs that are still to be made, as the plan has them."""
    house = open_house(Settings(root=site.root), read_only=True)
    proposal = propose(Selection(paths=(site.root / "manifests",)), house)
    wanted = [each.wanted if isinstance(each, Blocked) else each for each in proposal.plan.actions]
    assert proposal.context is not None, "the estate has a Platform"
    return proposal.context, [each.resource for each in wanted if isinstance(each, Create) and each.ref.key]


def finish(site: Site) -> int:
    """Write all runs that are still to be made as finished; their number."""
    import psycopg

    ctx, children = planned(site)
    with psycopg.connect(site.database) as connection:
        ids: dict[str, int] = dict(connection.execute("SELECT name, experiment_id FROM experiments").fetchall())
        known = connection.execute("SELECT experiment_id, name, digest, dataset_uuid FROM datasets").fetchall()
        rows = _rows(children, ctx, ids, _pattern(connection), {(each[0], each[1], each[2]): each[3] for each in known})
        for table, columns in _TABLES.items():
            names = ", ".join(columns.split())
            with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as out:
                for row in rows[table]:
                    out.write_row(row)
    with psycopg.connect(site.database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")  # as the server does by itself after a while
    return len(children)


def _pattern(connection: Any) -> Pattern:
    columns = _TABLES["runs"].split()
    found = connection.execute(f"SELECT {', '.join(columns)} FROM runs WHERE status = 'FINISHED' LIMIT 1").fetchone()
    assert found is not None, "no run has finished in this estate"
    run = dict(zip(columns, found, strict=True))
    who = (run["run_uuid"],)
    rows = "SELECT key, value, timestamp, step, is_nan FROM {} WHERE run_uuid = %s"
    return Pattern(
        run,
        dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = %s", who).fetchall()),
        connection.execute(rows.format("latest_metrics"), who).fetchall(),
        connection.execute(rows.format("metrics"), who).fetchall(),
    )


def _rows(
    children: Sequence[Resource[Any]], ctx: Context, ids: Mapping[str, int], pattern: Pattern, datasets: dict[tuple[int, str, str], str]
) -> dict[str, list[Sequence[Any]]]:
    rows: dict[str, list[Sequence[Any]]] = {table: [] for table in _TABLES}
    dice = random.Random(0)
    for child in children:
        run_id, experiment = dice.randbytes(16).hex(), ids[replace(child.ref, key="").path]
        root = str(pattern.run["artifact_uri"]).rsplit("/", 3)[0]
        own = {
            "run_uuid": run_id,
            "name": child.ref.key,
            "experiment_id": experiment,
            "artifact_uri": f"{root}/{experiment}/{run_id}/artifacts",
        }
        rows["runs"].append([{**pattern.run, **own}[column] for column in _TABLES["runs"].split()])
        tags = {**pattern.tags, **launch.tags(child, ctx, 1), "mlflow.runName": child.ref.key}
        rows["tags"] += [(name, value, run_id) for name, value in tags.items()]
        rows["params"] += [(name, value, run_id) for name, value in launch.params(child).items()]
        rows["latest_metrics"] += [(*each, run_id) for each in pattern.latest]
        rows["metrics"] += [(*each, run_id) for each in pattern.metrics]
        for table, row in _inputs(child, run_id, experiment, datasets, dice):
            rows[table].append(row)
    return rows


def _inputs(
    child: Resource[Any], run_id: str, experiment: int, datasets: dict[tuple[int, str, str], str], dice: random.Random
) -> Iterator[tuple[str, Sequence[Any]]]:
    """What `runs/log-inputs` would write."""
    for each in launch.inputs(child):
        name, digest = each["name"], each["digest"][:36]
        place = (experiment, name, digest)
        if place not in datasets:
            datasets[place] = str(uuid.UUID(int=dice.getrandbits(128)))
            yield "datasets", (datasets[place], experiment, name, digest, "dvc", each["source"])
        one = dice.randbytes(16).hex()
        yield "inputs", (one, "DATASET", datasets[place], "RUN", run_id, 0)
        yield "input_tags", (one, "mlflow.data.context", "training")


if __name__ == "__main__":
    _root, _expected = sys.argv[1:]
    if (_written := finish(Site(Path(_root)))) != int(_expected):
        sys.exit(f"{_written} runs were written, not {_expected}")
