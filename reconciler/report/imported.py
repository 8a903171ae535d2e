"""What `reconcile import --all` wrote, and what it did not. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.report.show import clean, count, listed, paint, wrap

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
