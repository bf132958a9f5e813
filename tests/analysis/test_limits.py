"""How many problems are enough is one rule: the analyses agree on it, and on how they say so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from diffengine.analysis import limits
from diffengine.analysis.findings.accuracy import count
from diffengine.analysis.findings.auroc import SIGNALS, auroc_trajectories
from diffengine.analysis.findings.patterns import withheld

ANALYSIS = Path(limits.__file__).parent


def test_the_sentence() -> None:
    assert (
        limits.lacking(96, 100, "problem(s)") == "96 problems (at least 100; 4 more would suffice)"
    )
    assert limits.lacking(100, 100, "problem(s)") == "100 problems (at least 100)"
    assert limits.lacking(1, 2, "row(s)", rest="3 are empty") == (
        "1 row (at least 2; 1 more would suffice; 3 are empty)"
    )
    assert limits.status_of("") == "ok" and limits.status_of("why") == "insufficient: why"


@pytest.mark.parametrize(("correct", "wrong"), [(80, 20), (79, 20), (81, 19), (0, 0)])
def test_two_analyses_agree_on_which_run_is_large_enough(correct: int, wrong: int) -> None:
    verdict = np.repeat([1, 0], [correct, wrong]).astype(np.uint8)
    score = np.random.default_rng(0).normal(size=(correct + wrong, 3))
    metrics = {signal.metric: score for signal in SIGNALS}
    enough = correct + wrong >= limits.MIN_PROBLEMS and min(correct, wrong) >= limits.MIN_CLASS
    assert (withheld(count(verdict)) == "") == enough
    for quantity in auroc_trajectories(metrics, verdict).values():
        assert quantity.ok == enough


def test_no_other_file_has_a_number_of_problems_of_its_own() -> None:
    """A constant that bounds a number of problems from below stands in limits.py or nowhere."""
    own = re.compile(r"^MIN_(PROBLEMS|CLASS|MINORITY|GAINS|STATES|MAP_ROWS|N)\b", re.MULTILINE)
    files = [*ANALYSIS.glob("*.py"), *ANALYSIS.glob("findings/*.py"), *ANALYSIS.glob("states/*.py")]
    assert [file.name for file in files if own.search(file.read_text())] == ["limits.py"]
