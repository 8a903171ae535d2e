"""Amounts for people. Pure."""

from __future__ import annotations

from math import ceil

KIB = 1 << 10
MIB, GIB, TIB = KIB << 10, KIB << 20, KIB << 30


def memory(size: int) -> str:
    """Bytes: `6.2 GiB`, `10 GiB`, `300 MiB`; less than a MiB counts as one, so that nothing that is used looks as if it were not."""
    mebis = ceil(size / MIB)
    if abs(mebis) < KIB:
        return f"{mebis} MiB"
    return f"{trimmed(size / GIB)} GiB" if abs(size) < TIB else f"{trimmed(size / TIB)} TiB"


def trimmed(number: float) -> str:
    """At most one decimal, none where it is zero: `6.2`, `10`."""
    return f"{number:,.1f}".removesuffix(".0")
