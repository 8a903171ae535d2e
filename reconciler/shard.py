"""A large estate in parts: each loop looks after some of the projects, and is whole within them.

What a loop looks at and plans is its own; writing takes turns among all of them, so that the sum of what is admitted stays right."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from reconciler.errors import UsageError
from reconciler.model import Ref


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `of`. The first one looks after what belongs to no project, too."""

    number: int
    of: int

    def holds(self, ref: Ref) -> bool:
        """Whether it looks after this. By the project's name alone, the same in every process and on every machine."""
        if not ref.owner:
            return self.number == 1
        name = hashlib.blake2b(ref.owner.encode(), digest_size=8).digest()
        return int.from_bytes(name) % self.of + 1 == self.number

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


MOST = 99
"""Loops of one installation."""


def shard_named(text: str) -> Shard:
    """The shard that `2/3` means. Raises UsageError."""
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST:
        return Shard(int(number), int(of))
    raise UsageError(f"'{text}' is not a shard", hint=f"write --shard 2/3 for the second of three loops; {MOST} at most")
