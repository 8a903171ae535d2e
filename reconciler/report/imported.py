"""What `reconcile import` wrote or would write, and what it does not. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.report.json import FORMAT_VERSION, ref_value
from reconciler.report.show import clean, count, listed, paint, wrap
from reconciler.tidy import file_of

if TYPE_CHECKING:
    from reconciler.importing import Imported

SHOWN = 3
"""Names that are told of those that share a reason."""


def imported_text(found: Imported, files: Mapping[str, str], folder: Path, *, color: bool, width: int) -> str:
    """The outcome first, then each file, then what is missing and why, then what to do next."""
    lines = [paint(_outcome(found, folder), "bold", color), *_files(files, folder)]
    if taken := found.taken_over:
        told = f"Without this installation's mark, and taken over (lifecycle.adopt): {listed(taken, SHOWN)}"
        lines += ["", *wrap(told, width, "")]
    if found.refused:
        lines += ["", "No manifest can be written for:", *_refused(found, width)]
    if found.unread:
        lines += ["", "Could not be read:"]
        lines += [each for kind, why in sorted(found.unread.items()) for each in wrap(f"{kind}: {clean(why)}", width, "  ")]
    return "\n".join([*lines, "", _next(found, folder)])


def imported_json(found: Imported, *, folder: Path | None = None, in_tree: bool = True) -> str:
    """The same for programs, with the manifests themselves. `folder` is where they were written, None where they were not; `in_tree` is
    False of one object, which has no file."""
    manifests = [
        {
            **ref_value(ref),
            "file": file_of(each) if in_tree else None,
            "adopt": ref in found.taken_over,
            "manifest": each,
        }
        for ref, each in sorted(found.manifests.items())
    ]
    body = {
        "written": folder is not None and bool(manifests),
        "folder": str(folder) if folder is not None else None,
        "manifests": manifests,
        "declared": sorted(map(str, found.declared)),
        "refused": [{"kind": kind, "name": name, "why": why} for (kind, name), why in sorted(found.refused.items())],
        "unread": [{"kind": kind, "why": why} for kind, why in sorted(found.unread.items())],
    }
    return json.dumps({"formatVersion": FORMAT_VERSION, "kind": "import", **body}, indent=2, ensure_ascii=True, default=str)


def _outcome(found: Imported, folder: Path) -> str:
    had = f"{count(len(found.declared), 'resource')} had one already" if found.declared else ""
    if not found.manifests:
        return f"Nothing to import{f': {had}' if had else ''}."
    wrote = f"Wrote {count(len(found.manifests), 'manifest')} into {clean(str(folder))}"
    return f"{wrote}{f'; {had}' if had else ''}."


def _files(files: Mapping[str, str], folder: Path) -> list[str]:
    return ["", *(f"  {clean(str(folder / name))}" for name in files)] if files else []


def _refused(found: Imported, width: int) -> Iterator[str]:
    """By kind and reason, so that a hundred objects of one sort are one line."""
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (kind, name), why in sorted(found.refused.items()):
        by_reason[kind, why].append(name)
    for (kind, why), names in by_reason.items():
        yield from wrap(f"{kind.lower()} {listed(names, SHOWN)}: {clean(why)}", width, "  ")


def _next(found: Imported, folder: Path) -> str:
    if found.unread:
        return "Next: `reconcile platform up` starts what does not answer; then import again into an empty folder."
    if not found.manifests:
        return "Next: `reconcile status --all` shows what there is."
    shows = "what it would take over" if found.taken_over else "that nothing would change"
    return f"Next: `reconcile --dry-run -f {clean(str(folder))}` shows {shows}."
