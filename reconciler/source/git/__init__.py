"""Repositories that are followed, through git's own command line: what is newest, whether it is signed, and the files of a commit.

::

    values.py       what goes in and what comes out
    process.py      one program to its end or to its deadline
    command.py      one git, run so that nothing but git runs
    address.py      where a repository lies
    remote.py       the far side: what it offers, with whose rights, what went wrong there
    clone.py        a clone that is ours: made whole or not at all, healed, made again
    place.py        the files of a commit into the work tree, and nobody's work lost
    revert.py       some folders as they were at an earlier commit, as a new one
    signatures.py   who signed a commit
    repository.py   all of it behind one class
"""

from reconciler.source.git.repository import Repository
from reconciler.source.git.values import Commit, Followed, Moved

__all__ = ["Commit", "Followed", "Moved", "Repository"]
