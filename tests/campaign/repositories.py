"""What happens to repositories: bad commits, rewritten history, remotes that are away, locks that a killed git left, pushes told late."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.campaign.world import ROOT, TEAM
from tests.contract.git_lab import commit, git

if TYPE_CHECKING:
    from tests.campaign.faults import Round

WRONG = (
    "kind: Experimnt\n",
    "apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {name: x, project: nowhere}\nspec: {}\n",
    "apiVersion: reconciler.mlops/v1\nkind: Experiment\nmetadata: {name: wrong, project: nowhere}\nspec: {descripton: typo}\n",
    "a: [1, 2\n",
    "\t\x00\n",
    "<<<<<<< HEAD\nkind: Experiment\n=======\n>>>>>>> theirs\n",
)

BREAKS: tuple[Callable[[str], str], ...] = (
    lambda text: text.replace("kind: ", "kind: X", 1),
    lambda text: text.replace("spec:", "spce:", 1),
    lambda text: text[: len(text) // 2],
    lambda text: f"<<<<<<< HEAD\n{text}=======\n>>>>>>> theirs\n",
    lambda text: text.replace("name: ", "name: UPPER_", 1),
    lambda text: "",
)
"""What makes a good manifest a bad one. A file that is empty declares nothing, and says that by mistake as well as on purpose."""


def _pushed(here: Round, home: str, *words: str) -> None:
    git(here.site.dev[home], "push", "--quiet", *words, "origin", "HEAD:main")


def _back(here: Round, home: str) -> None:
    """What is declared, again."""
    here.site.push(here.world, home, "as it should be")


def _bad_commit(here: Round) -> None:
    """A manifest is broken for a moment: in a new file, or over a good one."""
    home = here.rng.choice((ROOT, TEAM))
    own = [each for _, each in sorted(here.world.things.items()) if each.home == home and each.kind != "Project"]
    folder = "deploy" if home == TEAM else "manifests"
    if here.rng.random() < 0.5:
        broken = {f"{folder}/wrong.yaml": here.rng.choice(WRONG)}
    else:
        chosen = here.rng.choice(own)
        broken = {chosen.file: here.rng.choice(BREAKS)(chosen.text())}
    commit(here.site.dev[home], broken, message="oops")
    _pushed(here, home)
    here.site.hook(home)
    time.sleep(here.rng.uniform(0.2, 2.0))
    _back(here, home)


def _emptied(here: Round) -> None:
    """A commit takes everything away: nothing may be deleted for it."""
    home = here.rng.choice((ROOT, TEAM))
    folder = here.site.dev[home]
    gone = [name for name in git(folder, "ls-files").splitlines() if name.startswith(("manifests/", "deploy/"))]
    kept = here.rng.choice(("", "manifests/platform.yaml"))
    commit(folder, {name: None for name in gone if name != kept}, message="tidy up")
    _pushed(here, home)
    here.site.hook(home)
    time.sleep(here.rng.uniform(0.5, 3.0))
    _back(here, home)


def _forced(here: Round) -> None:
    """History is rewritten, and pushed back: the same files under other commits, in between those of before."""
    home = here.rng.choice((ROOT, TEAM))
    folder, bare = here.site.dev[home], here.site.origins / f"{home}.git"
    newest = git(folder, "rev-parse", "HEAD")
    before = git(bare, "rev-parse", "--verify", "--quiet", "main~1") if _has_parent(bare) else newest
    git(bare, "update-ref", "refs/heads/main", before)
    here.site.hook(home)
    here.world.gone |= _missing(here, home, before)
    time.sleep(here.rng.uniform(0.2, 1.5))
    if here.rng.random() < 0.5:
        git(bare, "update-ref", "refs/heads/main", newest)
    else:
        git(folder, "commit", "--quiet", "--amend", "--allow-empty", "--message", f"said better {here.rng.random()}")
        _pushed(here, home, "--force")
    here.site.hook(home)


def _has_parent(bare: Path) -> bool:
    return int(git(bare, "rev-list", "--count", "main")) > 1


def _missing(here: Round, home: str, then: str) -> set[str]:
    """Refs that an earlier commit did not declare."""
    had = set(git(here.site.dev[home], "ls-tree", "-r", "--name-only", then).splitlines())
    return {each.ref for each in here.world.things.values() if each.home == home and each.file not in had}


def _away(here: Round) -> None:
    home = here.rng.choice((ROOT, TEAM))
    bare = here.site.origins / f"{home}.git"
    away = bare.with_name(f"{home}.away")
    if bare.exists():
        bare.rename(away)
        here.site.hook(home)
        time.sleep(here.rng.uniform(0.3, 2.0))
        away.rename(bare)


def _server_fails(here: Round) -> None:
    here.site.git.status = here.rng.choice((500, 502, 503, 401, 404, 429))
    here.site.hook(TEAM)
    here.later(here.rng.uniform(0.5, 2.0), lambda: setattr(here.site.git, "status", 0))


def _lock_left(here: Round) -> None:
    """A git that was killed has left its lock. A person's clone is a person's: they take it away after a while."""
    name = here.rng.choice(("index.lock", "HEAD.lock", "refs/heads/main.lock"))
    own = here.rng.random() < 0.5
    folder = here.site.root / ".mlops" / "sources" / TEAM if own else here.site.root
    lock = folder / ".git" / name
    with suppress(OSError):
        lock.touch()
        if not own:
            here.later(here.rng.uniform(0.5, 2.0), lambda: lock.unlink(missing_ok=True))


def _edited(here: Round) -> None:
    """Somebody edits a manifest on the machine, and thinks better of it."""
    files = [each for each in here.world.of("Experiment") if each.home == ROOT]
    path = here.site.root / here.rng.choice(files).file
    with suppress(OSError):
        before = path.read_text()
        path.write_text(before + "# mine\n")
        here.later(here.rng.uniform(0.5, 2.0), lambda: _undone(here.site.root, path))


def _undone(root: Path, path: Path) -> None:
    """As `git restore` does, in between two of the reconciler's own."""
    name = str(path.relative_to(root))
    for _ in range(50):
        with suppress(AssertionError):
            if name in git(root, "ls-tree", "-r", "--name-only", "HEAD").splitlines():
                git(root, "checkout", "--quiet", "HEAD", "--", name)
            else:
                path.unlink(missing_ok=True)
            return
        time.sleep(0.2)


def _late_hooks(here: Round) -> None:
    """A forge tells of one push twice, late, and of one that never was."""
    for _ in range(here.rng.randint(2, 5)):
        here.site.hook(here.rng.choice((ROOT, TEAM)), forged=here.rng.random() < 0.3)
    here.later(here.rng.uniform(0.5, 2.0), lambda: here.site.hook(ROOT))


def _standing_half(here: Round) -> None:
    """The note of where a source stands is cut short, or gone."""
    folder = here.site.root / ".mlops" / "sources"
    path = folder / here.rng.choice(("root.json", "team.json"))
    with suppress(OSError):
        if here.rng.random() < 0.5:
            path.write_text(path.read_text()[:20])
        else:
            path.unlink()


def _clone_damaged(here: Round) -> None:
    """A file of our own clone's git is empty, as after a power cut."""
    found = here.site.root / ".mlops" / "sources" / TEAM / ".git"
    path = found / here.rng.choice(("HEAD", "index", "config"))
    with suppress(OSError):
        if path.exists():
            path.write_bytes(b"")


KINDS: Mapping[str, tuple[Callable[[Round], None], int]] = {
    "a bad commit, and a good one": (_bad_commit, 5),
    "everything deleted, and put back": (_emptied, 3),
    "history rewritten, and back": (_forced, 4),
    "the remote is away": (_away, 3),
    "the server fails": (_server_fails, 4),
    "a lock is left": (_lock_left, 3),
    "edited on the machine, and undone": (_edited, 3),
    "pushes told late, twice, forged": (_late_hooks, 4),
    "the note of a source cut short": (_standing_half, 3),
    "our clone damaged": (_clone_damaged, 2),
}
