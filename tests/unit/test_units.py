"""Amounts for people."""

from __future__ import annotations

import pytest

from reconciler.model.units import GIB, MIB, TIB, memory, trimmed


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 MiB"),
        (1, "1 MiB"),
        (300 * MIB, "300 MiB"),
        (300 * MIB + 1, "301 MiB"),
        (1023 * MIB, "1023 MiB"),
        (GIB - 1, "1 GiB"),
        (GIB, "1 GiB"),
        (round(6.24 * GIB), "6.2 GiB"),
        (1000 * GIB, "1,000 GiB"),
        (3 * TIB, "3 TiB"),
        (-2 * GIB, "-2 GiB"),
    ],
)
def test_bytes(size: int, told: str) -> None:
    assert memory(size) == told


@pytest.mark.parametrize(("number", "told"), [(6.25, "6.2"), (10.0, "10"), (9.96, "10"), (1234.5, "1,234.5"), (0.0, "0")])
def test_at_most_one_decimal(number: float, told: str) -> None:
    assert trimmed(number) == told
