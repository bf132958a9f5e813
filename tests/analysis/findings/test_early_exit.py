"""Replayed exits: each rule on signals made by hand, what the exit is worth, and how many passes it
takes."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.findings import early_exit
from diffengine.analysis.findings.early_exit import exits, replay, replay_problems
from diffengine.analysis.registry import EXIT_RULES

NAN = np.nan


def signals(**given: list[list[float]]) -> dict[str, np.ndarray]:
    names = {"hit": "emergence/hit", "same": "emergence/final_guess", "settled": "emergence/settled",
             "margin": "answer/margin", "lowest": "answer/lowest_confidence", "canvas": "canvas/lowest_confidence",
             "kl": "answer/largest_kl"}  # fmt: skip
    shape = np.shape(next(iter(given.values())))
    return {
        name: np.array(given.get(short, np.zeros(shape)), float) for short, name in names.items()
    }


def test_prophet_demands_less_later() -> None:
    assert early_exit.prophet_slot(signals(margin=[[6, 6, 6], [3, 3, 3], [8, 0, NAN]])).tolist() == [
        [False, True, True], [False, False, True], [True, False, False]]  # fmt: skip


def test_klass_needs_two_still_steps_and_confidence() -> None:
    found = early_exit.klass_slot(signals(
        kl=[[NAN, 0, 0, 0], [0, 0, 0.5, 0]], lowest=[[0.95, 0.95, 0.5, 0.95], [0.95] * 4]))  # fmt: skip
    assert found.tolist() == [[False, False, False, True], [False] * 4]


def test_confidence_rules() -> None:
    given = signals(lowest=[[0.8, 0.9]], canvas=[[NAN, 0.95]])
    assert early_exit.confidence_slot(given).tolist() == [[False, True]]
    assert early_exit.confidence_canvas(given).tolist() == [[False, True]]


def test_exits_count_only_performed_steps() -> None:
    stops = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    performed = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], bool)
    stop, forwards = exits(stops, performed)
    assert stop.tolist() == [3, -1, 1] and forwards.tolist() == [3, 3, 1]


def test_what_an_exit_is_worth() -> None:
    """Rows: right too early and then lost; wrong early, right in the end; the final answer already
    there; no gold."""
    given = signals(lowest=[[0.95, 0, 0]] * 4, hit=[[1, 0, 0], [0, 0, 1], [0, 0, 0], [NAN] * 3],
                    same=[[0, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]],
                    settled=[[0, 0, 1], [0, 0, 1], [1, 1, 1], [0] * 3])  # fmt: skip
    verdict = np.array([0, 1, 1, 3])
    found = replay(replay_problems(given, verdict, np.ones((4, 3), bool)), verdict)
    accuracy, change = (
        found[f"early_exit/confidence_slot/{part}"] for part in ("accuracy", "accuracy_change")
    )
    assert float(accuracy.values) == pytest.approx(2 / 3) and accuracy.n == 3
    assert float(change.values) == 0 and float(change.stderr) == pytest.approx(
        np.std([1, -1, 0], ddof=1) / 3**0.5
    )
    assert float(found["early_exit/confidence_slot/steps"].values) == 1
    assert float(found["early_exit/hindsight/accuracy_change"].values) == 0
    assert float(found["early_exit/hindsight/steps"].values) == pytest.approx((3 + 3 + 1) / 3)


def test_every_rule_is_replayed() -> None:
    verdict = np.array([1])
    given = signals(hit=[[0.0, 1.0]], same=[[0.0, 1.0]])
    found = replay(replay_problems(given, verdict, np.ones((1, 2), bool)), verdict)
    assert {name.split("/")[1] for name in found} == set(EXIT_RULES)
    assert all("counterfactual" in quantity.label for quantity in found.values())
