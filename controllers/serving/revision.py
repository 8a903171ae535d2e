"""What a deployment would serve now: manifest, model version and machine, taken together. Pure.

A revision is named by a digest over all that its answers and its needs depend on. What it was made from is kept with it, so that it can
be served again after manifest and alias have moved on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import ceil
from typing import Any

from reconciler.errors import Terminal
from reconciler.model import JSON, KNOWN_AFTER_APPLY, Amounts, Outputs, Ref, Resource, digest_of, output
from reconciler.model.demand import NOTHING, amounts_of
from reconciler.model.packaging import BentoSpec
from reconciler.model.runtimes import Machine, Needs, choose
from reconciler.model.serving import Target
from schemas.base import duration_value
from schemas.deployment import DeploymentSpec

SERVING = 1
"""Raised when a package is built or served in another way, so that every deployment is packaged anew."""
NOT_KNOWN = "NotKnownYet"
"""Reason: the Model changes in this pass."""
MIB = 1 << 20
DEFAULT_MEMORY = 512 * MIB
WORKER_MIB = 64
"""What a Ray worker uses beyond a trial's process, which loads the same packages."""
HEADROOM = 1.25
"""Times what a trial was measured to use, where the manifest names no memory: batches are larger than a trial's single predictions."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision, with all that is needed to make it again."""

    digest: str
    model: str
    """`project/name` of the registered model."""
    version: str
    run: str
    content: str
    """Digest of the model's files."""
    source: str
    """Where they are among MLflow's artifacts."""
    signature: str = ""
    """Where their signature is; empty = not signed."""
    public_key: str = ""
    datasets: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    why: str = ""
    """Why this runtime."""
    service: str = ""
    """`module:Class` of an own service; empty = the generic one."""
    code: tuple[str, ...] = ()
    """Globs of its files."""
    env: Mapping[str, str] = field(default_factory=dict)
    amounts: Amounts = NOTHING
    """Of one replica."""
    latency: float | None = None
    """Seconds: 95th percentile that it must show before it serves."""
    timeout: float = 10.0
    """Seconds of the longest request."""
    needs: Mapping[str, Any] = field(default_factory=dict)
    """What the model asks of the machine, as its Model tells it."""
    bento: str = ""
    """Tag of its package; empty = not built yet."""

    @property
    def label(self) -> str:
        """For people: `v3`."""
        return f"v{self.version}" if self.version else self.digest[:8]

    def package(self, ref: Ref, folder: str, root: str, installation: str) -> BentoSpec:
        """What to build; `folder` holds the model's files, `root` is the project's folder."""
        return BentoSpec(
            ref=str(ref),
            project=ref.owner,
            name=ref.name,
            digest=self.digest,
            folder=folder,
            model=self.model,
            model_digest=self.content,
            version=self.version,
            run=self.run,
            runtime=self.runtime,
            installation=installation,
            datasets=self.datasets,
            service=self.service,
            root=root if self.service else "",
            code=self.code,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The revision that manifest and model lead to, or why there is none."""

    revision: Revision | None = None
    reason: str = ""
    """CamelCase."""
    why: str = ""
    final: bool = False
    """True: waiting does not help."""

    @property
    def digest(self) -> str:
        return self.revision.digest if self.revision else ""


def wanted(resource: Resource[Any], code: str, trouble: str, machine: Machine) -> Wanted:
    """What should be served. `code` is the digest of an own service's files, `trouble` what is wrong with them."""
    spec: DeploymentSpec = resource.spec
    ref = next((each for each in resource.references if each.kind == "Model"), None)
    given = resource.inputs.get(ref, {}) if ref is not None else {}
    if ref is None or KNOWN_AFTER_APPLY in (output(given, "version"), output(given, "versions")):
        return Wanted(reason=NOT_KNOWN, why=f"the version of {ref} is not known yet")
    asked_for, alias = spec.model.partition("@")[2], output(given, "alias")
    if alias and asked_for not in ("", alias) and not asked_for.isdigit():
        why = f"{ref} has the alias `{alias}`, not `{asked_for}`: write `@{alias}`, or the number of a version"
        return Wanted(reason="CannotServe", why=why, final=True)
    version = _version(asked_for, given)
    if isinstance(version, str):
        return Wanted(reason="WaitingForModel", why=f"{ref} {version}")
    if trouble:
        return Wanted(reason="CannotServe", why=trouble, final=True)
    asked = replace(needs_of(_mapping(version.get("needs"))), packages={})  # which of them are installed is looked at when it is packaged
    try:
        choice = choose("bento" if spec.service else spec.runtime, _listed(version.get("runtimes")), machine, asked)
    except Terminal as error:
        return Wanted(reason="CannotServe", why=str(error), final=True)
    service = spec.service
    revision = Revision(
        digest="",
        model=ref.path,
        version=version["version"],
        run=version.get("run", ""),
        content=version.get("digest", ""),
        source=version.get("source", ""),
        signature=version.get("signature", ""),
        public_key=version.get("publicKey", ""),
        datasets=_mapping(version.get("datasets")),
        runtime=choice.runtime,
        why=choice.why,
        service=service.class_ if service else "",
        code=service.code if service else (),
        env=dict(sorted(spec.env.items())),
        amounts=_amounts(spec, version.get("memory", "")),
        latency=duration_value(spec.rollout.gates.latency).total_seconds() if spec.rollout.gates.latency else None,
        timeout=duration_value(spec.limits.timeout).total_seconds(),
        needs=_mapping(version.get("needs")),
    )
    named = [SERVING, revision.content, revision.runtime, revision.service, code, dict(revision.env), list(revision.amounts)]
    return Wanted(replace(revision, digest=digest_of(named)))


def needs_of(raw: Mapping[str, Any]) -> Needs:
    """What a model version asks of the machine, from what its Model tells."""
    return Needs(
        made_with=dict(raw.get("madeWith") or {}),
        python=str(raw.get("python") or ""),
        packages=dict(raw.get("packages") or {}),
        metal=raw.get("metal") or "preferred",
    )


def kept(revision: Revision) -> dict[str, JSON]:
    """For the notebook."""
    return asdict(revision) | {"amounts": list(revision.amounts)}


def read(raw: Mapping[str, Any]) -> Revision:
    """What `kept` wrote; fields that a newer version added are left out. Raises TypeError for what is no revision."""
    known = {each.name: raw[each.name] for each in fields(Revision) if each.name in raw}
    return Revision(**{**known, "amounts": Amounts(*known.get("amounts", ())), "code": tuple(known.get("code", ()))})


def found(target: Target, args: Mapping[str, Any]) -> Revision:
    """As much of a revision as its route and its application tell, where the notebook is lost: enough to go on serving it."""
    amounts = Amounts(int(args.get("memory") or 0), int(args.get("cpu") or 0))
    return Revision(
        target.digest,
        target.model,
        target.version,
        target.run,
        content=str(args.get("model_digest") or ""),
        source="",
        datasets=target.datasets,
        runtime=target.runtime,
        amounts=amounts,
        bento=str(args.get("bento") or ""),
    )


def _version(asked: str, given: Outputs) -> Mapping[str, Any] | str:
    """The version's facts; or why there is none, as the end of a sentence about the Model."""
    if asked.isdigit():
        versions = _mapping(output(given, "versions"))
        facts = versions.get(asked)
        if facts is None:
            return f"has no version {asked}; it has {', '.join(sorted(versions, key=int)) or 'none'}"
        if facts.get("quarantined"):
            return f"has put version {asked} into quarantine: {facts['quarantined']}"
        return {"version": asked, **facts}
    if not output(given, "version"):
        return "has no version that holds its alias yet"
    return dict(given)


def _amounts(spec: DeploymentSpec, measured: str) -> Amounts:
    amounts = amounts_of(spec.resources.model_dump())
    if spec.resources.memory is not None:
        return amounts
    if not measured.isdigit() or not int(measured):
        return amounts._replace(memory=DEFAULT_MEMORY)
    return amounts._replace(memory=(ceil(int(measured) * HEADROOM / MIB) + WORKER_MIB) * MIB)


def _mapping(text: Any) -> dict[str, Any]:
    found = _json(text)
    return found if isinstance(found, dict) else {}


def _listed(text: Any) -> list[str]:
    found = _json(text)
    return [str(each) for each in found] if isinstance(found, list) else []


def _json(text: Any) -> Any:
    """An output that is JSON; what `versions` holds is plain values already."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text or "null")
    except ValueError:
        return None
