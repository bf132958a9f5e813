"""Tokens per forward pass, straying and accuracy of runs made by hand; the AUP of each policy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compared_runs import EOS, NEVER, generations, one_a_step

from diffengine.analysis.compare.methods import methods, setting_text, varying
from diffengine.analysis.compare.paired import paired_shares
from diffengine.analysis.compare.standing import (
    ACCURACY,
    ACCURACY_CHANGE,
    FORWARDS,
    MEAN_TOKENS_PER_FORWARD,
    NEVER_DIVERGED,
    SAME_ANSWER,
    SAME_TEXT,
    TEXT_TOKENS_PER_FORWARD,
    TOKENS_PER_FORWARD,
    Standing,
    ratio_of_totals,
    speed,
    standings,
)
from diffengine.analysis.quantity import Quantity
from diffengine.analysis.shares import wilson


def value(quantity: Quantity) -> float:
    return float(quantity.values)


def test_tokens_per_forward_by_hand() -> None:
    """Four tokens in two passes and four in one: 8 / 3 overall, (2 + 4) / 2 a problem; before the
    end of the text 3 and 2 tokens: 5 / 3."""
    run = generations(
        "fast", [[1, 2, 3, EOS], [1, 2, EOS, 7]], [[0, 0, 1, 1], [0, 0, 0, 0]], n_forwards=[2, 1]
    )
    numbers = speed(run)
    assert value(numbers[TOKENS_PER_FORWARD]) == pytest.approx(8 / 3)
    assert value(numbers[MEAN_TOKENS_PER_FORWARD]) == pytest.approx(3)
    assert value(numbers[TEXT_TOKENS_PER_FORWARD]) == pytest.approx(5 / 3)
    assert value(numbers[FORWARDS]) == pytest.approx(1.5)


def test_a_text_ends_at_whichever_end_comes_first() -> None:
    """Of a run that names the end of a turn too: 1 and 2 tokens in two passes."""
    end_of_turn = 90
    tokens = [[1, end_of_turn, EOS, EOS], [1, 2, EOS, end_of_turn]]
    run = generations("blocks", tokens, [[0] * 4, [0] * 4])
    assert value(speed(run)[TEXT_TOKENS_PER_FORWARD]) == pytest.approx(4 / 2)
    run.info["model"]["eot_token_id"] = end_of_turn
    assert value(speed(run)[TEXT_TOKENS_PER_FORWARD]) == pytest.approx(3 / 2)


def test_a_guided_step_is_two_passes_and_a_mask_is_no_token() -> None:
    run = generations("guided", [[1, 2, 5]], [[0, 1, NEVER]], n_forwards=[4])
    assert value(speed(run)[TOKENS_PER_FORWARD]) == pytest.approx(2 / 4)


def test_one_token_a_step_is_one_token_a_forward() -> None:
    numbers = speed(one_a_step([[1, 2, 3]] * 5))
    assert value(numbers[TOKENS_PER_FORWARD]) == 1
    assert float(numbers[TOKENS_PER_FORWARD].stderr) == 0


def test_without_an_end_token_nothing_is_said_of_the_text() -> None:
    number = speed(one_a_step([[1, 2]], eos=None))[TEXT_TOKENS_PER_FORWARD]
    assert number.status == "insufficient: the run does not say which token ends a text"


def test_the_error_of_a_ratio_is_that_of_many_samples() -> None:
    """Over 4000 samples of 200 problems the ratio scatters as its standard error says."""
    rng = np.random.default_rng(0)
    forwards = rng.integers(5, 40, (4000, 200)).astype(float)
    tokens = np.floor(forwards * rng.uniform(0.5, 2.5, forwards.shape))
    results = [
        ratio_of_totals(above, below, label="", missing="")
        for above, below in zip(tokens, forwards, strict=True)
    ]
    scatter = np.std([value(result) for result in results])
    errors = np.mean([float(result.stderr) for result in results])
    assert errors == pytest.approx(scatter, rel=0.05)


def test_shares_and_the_paired_change() -> None:
    exact = one_a_step([[1, 2]] * 4, verdict=[1, 1, 0, 1])
    fast = generations(
        "fast",
        [[1, 2], [1, 3], [1, 2], [4, 2]],
        [[0, 0]] * 4,
        verdict=[1, 0, 1, 0],
        answer=["1", "1.0", "1", "4"],
    )
    first, second = standings([exact, fast])
    assert first.strays is None and ACCURACY_CHANGE not in first.quantities
    assert value(second.quantities[ACCURACY]) == 0.5
    assert value(second.quantities[SAME_ANSWER]) == 0.75
    assert tuple(second.quantities[SAME_ANSWER].interval) == wilson(3, 4)
    assert value(second.quantities[NEVER_DIVERGED]) == 0.5
    paired = paired_shares(np.array([1.0, 1, 0, 1]), np.array([1.0, 0, 1, 0]))
    change = second.quantities[ACCURACY_CHANGE]
    assert value(change) == paired.difference == -0.25
    assert list(change.interval) == [paired.low, paired.high]


def test_problems_may_come_in_another_order() -> None:
    exact = one_a_step([[1], [2], [3]], verdict=[1, 1, 0], keys=["a", "b", "c"])
    fast = one_a_step([[3], [2], [9]], verdict=[0, 1, 0], keys=["c", "b", "a"], name="fast")
    quantities = standings([exact, fast])[1].quantities
    assert value(quantities[ACCURACY_CHANGE]) == pytest.approx(-1 / 3)
    assert value(quantities[NEVER_DIVERGED]) == pytest.approx(2 / 3)
    assert value(quantities[SAME_TEXT]) == pytest.approx(2 / 3)

    more = one_a_step([[5], [1], [2], [3]], verdict=[0, 1, 1, 1], keys=["d", "a", "b", "c"])
    quantities = standings([exact, more])[1].quantities
    assert value(quantities[ACCURACY_CHANGE]) == pytest.approx(1 / 3)
    assert quantities[ACCURACY_CHANGE].n == 3


def test_quartiles_are_over_the_problems_that_diverge() -> None:
    """Steps 0, 2, 5 and 7 of eight problems: values that occur, 0, 2 and 5."""
    exact = one_a_step([[1]] * 8)
    steps = [[0], [2], [5], [7], [0], [0], [0], [0]]
    tokens = [*[[9]] * 4, *[[1]] * 4]
    quantities = standings([exact, generations("fast", tokens, steps)])[1].quantities
    assert value(quantities["stray/divergence_lower_quartile"]) == 0
    assert value(quantities["stray/divergence_median"]) == 2
    assert value(quantities["stray/divergence_upper_quartile"]) == 5
    assert int(quantities["stray/divergence_median"].n) == 4
    assert value(quantities[NEVER_DIVERGED]) == 0.5


def test_each_is_measured_from_its_own_reference() -> None:
    one = one_a_step([[1, 2]], name="one")
    two = one_a_step([[3, 4]], name="two")
    fast = generations("fast", [[3, 4]], [[0, 0]])
    rows = standings([one, two, fast], [0, 1, 1])
    assert rows[1].strays is None
    assert value(rows[2].quantities[NEVER_DIVERGED]) == 1


def test_what_is_undefined_has_no_value() -> None:
    """Another model: texts can be compared, tokens cannot."""
    exact = one_a_step([[1]])
    quantities = standings([exact, one_a_step([[1]], name="other", fingerprint="x")])[1].quantities
    why = "insufficient: exact and other are of different models"
    assert quantities[NEVER_DIVERGED].status == why
    assert quantities["stray/divergence_median"].status == why
    assert value(quantities[SAME_TEXT]) == 1


def test_nothing_shared_is_said() -> None:
    exact = one_a_step([[1]], keys=["a"])
    row = standings([exact, one_a_step([[1]], keys=["b"], name="fast")])[1]
    for name in (SAME_ANSWER, NEVER_DIVERGED, ACCURACY_CHANGE, "stray/divergence_median"):
        assert row.quantities[name].status == "insufficient: no problem in common"


def policies(*accuracies: tuple[str, int, float]) -> list[Standing]:
    """An exact run with 20 of 20 right, and runs of (policy, right of 20, threshold)."""
    tokens = [[1, 2]] * 20
    runs = [one_a_step(tokens, verdict=[1] * 20)]
    for policy, right, threshold in accuracies:
        verdict = [1] * right + [0] * (20 - right)
        steps = [[0, 0]] * 20
        run = generations(
            f"{policy}-{threshold}",
            tokens,
            steps,
            verdict=verdict,
            policy=policy,
            threshold=threshold,
        )
        runs.append(run)
    return standings(runs)


def test_the_aup_of_each_policy_by_hand() -> None:
    """Exact (1, 100), a (2, 95) and b (2, 80), which loses too much."""
    rows = policies(("a", 19, 0.9), ("b", 16, 0.5))
    a, b = methods(rows)
    assert (a.policy, a.places, a.dropped) == ("a", [0, 1], [])
    expected = 100 + (100 + 95 * math.exp(-3 * 0.05)) / 2
    assert value(a.aup) == pytest.approx(expected)
    assert (b.dropped, value(b.aup)) == ([2], 100)


def test_the_best_of_all_methods_is_the_measure_of_each() -> None:
    exact = one_a_step([[1, 2]] * 20, verdict=[1] * 18 + [0] * 2)
    better = generations("b", [[1, 2]] * 20, [[0, 0]] * 20, policy="b")
    other = exact._replace(name="a", info=dict(exact.info, config={**exact.config, "policy": "a"}))
    other = other._replace(n_forwards=np.ones(20, np.int32))
    a, _ = methods(standings([exact, other, better]))
    weight = math.exp(-3 * (1 - 0.9))
    assert value(a.aup) == pytest.approx(90 + 90 * weight)


@pytest.mark.parametrize(
    ("keys", "verdict", "why"),
    [
        (["p0", "x"], [1, 1], "fast holds other problems than exact"),
        (["p0", "p1"], [3, 3], "fast has no accuracy"),
    ],
)
def test_where_the_aup_is_undefined(keys: list[str], verdict: list[int], why: str) -> None:
    exact = one_a_step([[1], [2]])
    fast = one_a_step([[1], [2]], name="fast", keys=keys, verdict=verdict, policy="b")
    (method,) = methods(standings([exact, fast]))
    assert method.aup.status == f"insufficient: {why}"


def test_no_right_answer_is_no_aup() -> None:
    exact = one_a_step([[1]], verdict=[0])
    fast = one_a_step([[1]], name="fast", verdict=[0], policy="b")
    (method,) = methods(standings([exact, fast]))
    assert method.aup.status == "insufficient: no run answers any problem correctly"


def test_what_sets_runs_apart() -> None:
    assert varying([{"policy": "a", "threshold": 0.5, "steps": 8}]) == []
    configs = [{"threshold": 0.5, "steps": 8}, {"threshold": 0.7, "steps": 8}]
    assert varying(configs) == ["threshold"]
    rows = policies(("a", 19, 0.9), ("a", 18, 0.5), ("b", 16, 0.5))
    a, b = methods(rows)
    assert [setting_text(rows[place], a) for place in (1, 2)] == ["0.9", "0.5"]
    assert setting_text(rows[3], b) == "b-0.5"
