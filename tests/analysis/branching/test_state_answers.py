"""The most frequent answers of a state are those that a plain count finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import toy
from toy import Toy

from diffengine.analysis.branching.branch_runs import by_law
from diffengine.analysis.branching.draws import Draws, read_draws
from diffengine.analysis.branching.state_answers import MOST, state_answers

TOYS = [Toy(seed, sharpness=2.0) for seed in range(12)]
TEXTS = [each.greedy() for each in TOYS]
GOLD = [toy.answer_of(text) for text in TEXTS]
SAMPLES = 9


@pytest.fixture
def branches() -> toy.ToyRun:
    return toy.branch_run(TOYS, TEXTS, GOLD, samples=SAMPLES, seed=3, lost=["p4@1.0#2"])


@pytest.fixture
def draws(branches: toy.ToyRun) -> Draws:
    return read_draws(toy.parent_run(TOYS, TEXTS, GOLD), by_law([branches])[0])


def counted(branches: toy.ToyRun, row: int, step: int) -> Counter[str]:
    """Answers of a state by a plain loop."""
    of_state = zip(
        branches["parent_id"], branches["branch_step"], branches["extracted_answer"], strict=True
    )
    return Counter(a for name, at, a in of_state if (name, at) == (f"p{row}", step))


def test_shares_and_texts_are_those_of_a_plain_count(branches: toy.ToyRun, draws: Draws) -> None:
    most = state_answers(draws)
    for row in range(len(TOYS)):
        for place, step in enumerate((0, 1, 2)):
            if (row, step) == (4, 1):
                continue
            counts = counted(branches, row, step)
            assert most.distinct[row, place] == len(counts)
            named = [text for text in most.text[row, place] if text]
            assert len(named) == min(MOST, len(counts))
            shares = most.share[row, place][: len(named)]
            np.testing.assert_allclose(shares, [counts[text] / SAMPLES for text in named])
            assert sorted(shares * SAMPLES, reverse=True) == pytest.approx(
                [count for _, count in counts.most_common(MOST)]
            )
            assert np.isnan(most.share[row, place][len(named) :]).all()


def test_of_equally_frequent_answers_the_parents_own_comes_first(draws: Draws) -> None:
    most = state_answers(draws)
    ties = 0
    for row, place in np.argwhere(draws.is_complete):
        counts = draws.counts[row, place]
        best = np.flatnonzero(counts == counts.max())
        if draws.final[row] in best and len(best) > 1:
            ties += 1
            assert most.text[row, place, 0] == GOLD[row]
    assert ties


def test_that_rule_does_not_lean_on_the_order_of_classes(draws: Draws) -> None:
    """Whichever of the equally frequent classes is the parent's comes first."""
    for row, place in np.argwhere(draws.is_complete[:, :-1]).tolist():
        counts = draws.counts[row, place]
        for best in np.flatnonzero(counts == counts.max()).tolist():
            final = draws.final.copy()
            final[row] = best
            most = state_answers(replace(draws, final=final))
            assert most.text[row, place, 0] == draws.answers[row][best]


def test_the_end_is_the_parents_own_answer(draws: Draws) -> None:
    most = state_answers(draws)
    assert most.text[:, -1, 0].tolist() == GOLD
    assert (most.share[:, -1, 0] == 1).all() and (most.distinct[:, -1] == 1).all()


def test_a_state_with_a_missing_branch_says_nothing(draws: Draws) -> None:
    most = state_answers(draws)
    assert most.distinct[4, 1] == -1
    assert np.isnan(most.share[4, 1]).all() and not any(most.text[4, 1])


def test_draws_without_an_answer_have_a_share_and_no_text(branches: toy.ToyRun) -> None:
    at_start = (branches["parent_id"] == "p0") & (branches["branch_step"] == 0)
    places = np.flatnonzero(at_start)[:7]
    branches["extracted_answer"][places] = ""
    branches["verdict"][places] = toy.UNEXTRACTED
    draws = read_draws(toy.parent_run(TOYS, TEXTS, GOLD), by_law([branches])[0])
    most = state_answers(draws)
    assert (most.text[0, 0, 0], most.share[0, 0, 0]) == ("", pytest.approx(7 / SAMPLES))
