"""Sizes in words, against units written out by hand and against an independent reading back."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from diffengine.engine.store.sizes import UNITS, size_text

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("n_bytes", "text"), [
    (0, "0 B"), (1, "1 B"), (999, "999 B"), (999.4, "999 B"), (999.6, "1 kB"), (1000, "1 kB"), (8190, "8.19 kB"),
    (999_499, "999 kB"), (999_600, "1 MB"), (1_234_567, "1.23 MB"), (16e9, "16 GB"), (2**30, "1.07 GB"),
    (3.25e12, "3.25 TB"), (5e15, "5 PB"),
])  # fmt: skip
def test_units_fit(n_bytes: float, text: str) -> None:
    assert size_text(n_bytes) == text


def test_every_size_reads_back_to_three_digits() -> None:
    draw = random.Random(15)
    for _ in range(2000):
        n_bytes = int(10 ** draw.uniform(0, 17.9))
        number, unit = size_text(n_bytes).split()
        assert re.fullmatch(r"\d{1,3}(\.\d{1,2})?", number), (n_bytes, number)
        assert float(number) * 1000.0 ** UNITS.index(unit) == pytest.approx(
            n_bytes, rel=0.005, abs=0.5
        )


@pytest.mark.parametrize("n_bytes", [-1, float("nan"), float("inf")])
def test_what_is_no_size(n_bytes: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        size_text(n_bytes)


def test_no_other_place_writes_units_of_its_own() -> None:
    """`8.19e-06 GB` came of a division by hand; rates (GB/s) and prose are another thing."""
    by_hand = re.compile(
        r"\{[^{}]*(?:1e3|1e6|1e9|1e12|2 ?\*\* ?[123]0|1 << [123]0)[^{}]*\}\s*(?:[kKMGT]i?B)\b(?!/s)"
    )
    files = [
        path for part in ("engine", "analysis", "bench") for path in (ROOT / part).rglob("*.py")
    ]
    assert [path.name for path in files if by_hand.search(path.read_text(encoding="utf-8"))] == []
    assert by_hand.search('f"{n_bytes / 1e9:.3g} GB"')
