"""Effects of interventions, by hand on canvases of four positions and two problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffengine.analysis.branching.effects import MEASURES, Effects, compare
from diffengine.analysis.branching.ends import Ends, Parents, gold_logprob
from diffengine.engine.store.errors import DamagedRun

MASK = 0
CORRECT, WRONG, UNEXTRACTED, NO_GOLD = 1, 0, 2, 3
TEXTS = ["nothing", "remask 0", 'force 2 "7"', "remask 3"]

FINAL = [[11, 12, 13, 14], [21, 22, 23, 24]]
AT_2 = [[11, 12, 0, 0], [21, 0, 0, 24]]


def parents(**changes: Any) -> Parents:
    values: dict[str, Any] = {
        "ids": ["p", "q"],
        "final": np.array(FINAL),
        "canvas": {2: np.array(AT_2), 3: np.array(FINAL)},
        "span": np.array([[3, 4], [-1, -1]]),
        "answer": np.array(["14", ""], object),
        "verdict": np.array([CORRECT, UNEXTRACTED]),
        "end": np.array([3, 2]),
        "groups": np.array(["p", "q"], object),
        "gold": {2: np.array([-1.0, np.nan]), 3: np.array([-0.5, np.nan])},
        "mask_id": MASK,
    }
    return Parents(**values | changes)


Branch = tuple[int, int, int, int, list[int], list[int], str, int, float]
"""Row, step, intervention, branch, start, final, answer, verdict, gold."""


def ends(*branches: Branch) -> Ends:
    columns = list(zip(*branches, strict=True))
    arrays = [np.array(column) for column in columns]
    arrays[6] = np.array(columns[6], object)
    return Ends(*arrays)


def one(
    intervention: int,
    final: list[int],
    *,
    row: int = 0,
    step: int = 2,
    branch: int = 0,
    start: list[int] | None = None,
    answer: str = "14",
    verdict: int = CORRECT,
    gold: float = np.nan,
) -> Branch:
    canvas = {2: AT_2, 3: FINAL}[step][row]
    return (row, step, intervention, branch, start or canvas, final, answer, verdict, gold)


def test_direct_and_collateral_beside_the_parent() -> None:
    found = compare(
        parents(),
        ends(
            # position 0 was masked and came out otherwise, and so did position 3
            one(1, [99, 12, 13, 98], start=[0, 12, 0, 0], answer="98", verdict=WRONG, gold=-3.0),
            # position 2 was forced, nothing else changed; written otherwise, the same number
            one(2, [11, 12, 7, 14], answer="14.0", gold=-1.25),
            # position 0 was masked and came back
            one(1, [21, 22, 23, 24], row=1, start=[0, 0, 0, 24], answer="", verdict=UNEXTRACTED),
        ),
        TEXTS,
        is_fresh=False,
    )
    assert found.direct.tolist() == [1, 1, 0]
    assert found.collateral.tolist() == [1, 0, 0]
    assert found.total.tolist() == [2, 1, 0]
    assert found.acted.tolist() == [
        [True, False, False, False],
        [False, False, True, False],
        [True, False, False, False],
    ]
    assert found.answer_changed.tolist() == [1, 0, 0]
    assert found.correctness.tolist() == [-1, 0, 0]
    assert found.gold_logprob[:2].tolist() == [-2.0, -0.25]
    assert np.isnan(found.gold_logprob[2])
    assert found.uncontrolled == 0


def test_the_control_shares_the_noise_where_that_is_fresh() -> None:
    nothing = [one(0, [1, 2, 3, 4], branch=0, answer="4", verdict=WRONG, gold=-2.0)]
    nothing += [one(0, [1, 2, 3, 5], branch=1, answer="5", verdict=WRONG)]
    found = compare(
        parents(),
        ends(
            *nothing,
            one(3, [1, 2, 3, 4], branch=0, answer="4", verdict=WRONG, gold=-2.5),
            one(3, [1, 2, 3, 4], branch=1, answer="4", verdict=WRONG),
            one(3, [1, 2, 3, 4], branch=2, answer="4", verdict=WRONG),
        ),
        TEXTS,
        is_fresh=True,
    )
    assert found.branch.tolist() == [0, 1]
    assert found.total.tolist() == [0, 1]
    assert found.answer_changed.tolist() == [0, 1]
    assert found.uncontrolled == 1
    assert found.gold_logprob[0] == -0.5
    # of the one pair of controls: one token and the answer differ
    assert found.apart.row.tolist() == [0] and found.apart.step.tolist() == [2]
    assert found.apart.tokens.tolist() == [1.0]
    assert found.apart.answer.tolist() == [1.0]


def test_behind_the_parents_end_the_control_is_what_stands_there() -> None:
    # decoding 1 ended at step 2: at step 3 nothing is decoded where nothing is done
    found = compare(
        parents(),
        ends(one(1, [77, 22, 23, 24], row=1, step=3, start=[0, 22, 23, 24], answer="", verdict=2)),
        TEXTS,
        is_fresh=True,
    )
    assert found.total.tolist() == [1.0]
    assert found.direct.tolist() == [1.0]
    # decoding 0 made a pass at step 3: its control should be there
    lacking = compare(
        parents(),
        ends(one(1, [77, 12, 13, 14], step=3, start=[0, 12, 13, 14])),
        TEXTS,
        is_fresh=True,
    )
    assert lacking.uncontrolled == 1
    assert len(lacking.total) == 0


def test_three_pairs_of_controls() -> None:
    found = compare(
        parents(),
        ends(
            one(0, [1, 2, 3, 4], branch=0, answer="4"),
            one(0, [1, 2, 3, 5], branch=1, answer="5", verdict=WRONG),
            one(0, [1, 2, 9, 5], branch=2, answer="5", verdict=WRONG),
        ),
        TEXTS,
        is_fresh=True,
    )
    # pairs differ at 1, 2 and 1 positions, and in two of three their answers differ
    assert found.apart.tokens[0] == pytest.approx(4 / 3)
    assert found.apart.answer[0] == pytest.approx(2 / 3)


def test_the_distance_between_controls_is_a_mean_over_problems() -> None:
    found = compare(
        parents(),
        ends(
            one(0, [1, 2, 3, 4], branch=0),
            one(0, [1, 2, 3, 5], branch=1),
            one(0, [1, 2, 3, 4], branch=0, row=1, answer=""),
            one(0, [9, 9, 9, 9], branch=1, row=1, answer=""),
            one(0, [9, 9, 9, 9], branch=0, row=1, step=3, answer=""),
            one(1, [1, 2, 3, 4], branch=0, start=[0, 12, 0, 0]),
        ),
        TEXTS,
        is_fresh=True,
    )
    assert found.steps.tolist() == [2]
    assert found.apart_by_problem(found.apart.tokens).tolist() == [[1.0], [4.0]]


def test_no_gold_answer_is_no_change_of_correctness() -> None:
    found = compare(
        parents(verdict=np.array([NO_GOLD, NO_GOLD])),
        ends(one(1, [9, 9, 9, 9], start=[0, 12, 0, 0], verdict=NO_GOLD)),
        TEXTS,
        is_fresh=False,
    )
    assert np.isnan(found.correctness).all()


def many(seed: int = 0, decodings: int = 40, *, samples: int = 2) -> Effects:
    """Random branches of `decodings`, two to a problem."""
    rng = np.random.default_rng(seed)
    own = parents(
        ids=[str(i) for i in range(decodings)],
        final=rng.integers(1, 5, (decodings, 4)),
        canvas={2: np.full((decodings, 4), MASK), 3: np.full((decodings, 4), 9)},
        span=np.full((decodings, 2), -1),
        answer=np.array([""] * decodings, object),
        verdict=np.full(decodings, WRONG),
        end=np.full(decodings, 3),
        groups=np.array([str(i // samples) for i in range(decodings)], object),
        gold={2: np.full(decodings, np.nan), 3: np.full(decodings, np.nan)},
    )
    made = []
    for row in range(decodings):
        for step in (2, 3):
            for intervention in (1, 3):
                for branch in range(int(rng.integers(1, 4))):
                    start = [9, 9, 9, 9] if step == 3 else [0, 0, 0, 0]
                    start[0 if intervention == 1 else 3] = 1
                    final = rng.integers(1, 5, 4).tolist()
                    verdict = int(rng.integers(0, 2))
                    made.append((row, step, intervention, branch, start, final, "", verdict, -1.0))
    return compare(own, ends(*made), TEXTS, is_fresh=False)


def test_direct_and_collateral_are_the_total_exactly() -> None:
    found = many()
    assert found.total.sum() > 100
    assert np.array_equal(found.direct + found.collateral, found.total)
    means = {name: found.mean(name).mean for name in ("direct", "collateral", "total")}
    known = np.isfinite(means["total"])
    assert known.sum() == 4
    assert np.allclose(
        (means["direct"] + means["collateral"])[known], means["total"][known], rtol=0, atol=1e-12
    )


def test_means_are_of_branches_then_decodings_then_problems() -> None:
    found = many(3)
    result = found.mean("total")
    for number, _ in enumerate(TEXTS):
        for place, step in enumerate(found.steps):
            of_problem: dict[str, list[float]] = {}
            for row in range(len(found.groups)):
                chosen = (found.row == row) & (found.step == step)
                chosen &= found.intervention == number
                if chosen.any():
                    of_problem.setdefault(str(found.groups[row]), []).append(
                        float(found.total[chosen].mean())
                    )
            if not of_problem:
                assert np.isnan(result.mean[number, place])
                continue
            expected = np.mean([np.mean(values) for values in of_problem.values()])
            assert result.mean[number, place] == pytest.approx(expected)
            assert result.n[number, place] == len(of_problem) == 20
            assert result.low[number, place] < expected < result.high[number, place]


def test_every_measure_has_a_mean() -> None:
    found = many()
    for name in MEASURES:
        assert found.mean(name).mean.shape == (4, 2), name


def test_where_each_text_acted_is_asked_of_the_texts_that_branch_writes() -> None:
    with pytest.raises(DamagedRun, match="not written as"):
        compare(parents(), ends(one(1, [1, 2, 3, 4])), ["nothing", "remask  0"], is_fresh=False)


def test_the_gold_answers_log_probability_token_by_token() -> None:
    rng = np.random.default_rng(0)
    logprob = -rng.exponential(size=(4, 5, 6, 3))
    block = {
        "answer_logprob": logprob,
        "answer_token_id": np.array([[7, 8, -1], [7, 8, 9], [7, 8, -1], [-1, -1, -1]]),
        "performed": np.array([[1, 1, 0, 0, 1], [1] * 5, [1, 1, 1, 0, 0], [1] * 5]),
    }
    span = np.array([[2, 4], [2, 4], [2, 4], [2, 4]])
    values = gold_logprob(block, np.array([2, 2, 4, 2]), span)
    # step 4 is the first with a pass from step 2 on
    assert values[0] == pytest.approx(logprob[0, 4, 2, 0] + logprob[0, 4, 3, 1])
    assert np.isnan(values[1:]).all()  # another length, no pass any more, no gold answer
    nowhere = gold_logprob(block, np.array([2, 2, 4, 2]), np.full((4, 2), -1))
    assert np.isnan(nowhere).all()
