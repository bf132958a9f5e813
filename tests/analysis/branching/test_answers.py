"""Answer information against the toy's exact law; and what its quantities say where something is
missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import toy
from toy import Toy

from diffengine.analysis.branching.answers import (
    NAMES,
    AnswerInformation,
    answer_information,
    cannot_tell,
)
from diffengine.analysis.branching.branch_runs import by_law
from diffengine.analysis.branching.draws import Draws, read_draws
from diffengine.analysis.branching.entropy import ESTIMATORS

N = 120
TOYS = [Toy(seed, sharpness=2.0) for seed in range(N)]
RNG = np.random.default_rng(99)
DRAWN = [each.draw(RNG) for each in TOYS]
GREEDY = [each.greedy() for each in TOYS]
GOLD = [toy.answer_of(text) for text in GREEDY]


def draws_of(states: list[Any], *, groups: list[str] | None = None, **changes: Any) -> Draws:
    parent = toy.parent_run(TOYS[: len(states)], states, GOLD[: len(states)], groups=groups or ())
    branches = toy.branch_run(TOYS[: len(states)], states, GOLD[: len(states)], **changes)
    return read_draws(parent, by_law([branches])[0])


def made(draws: Draws, **more: Any) -> AnswerInformation:
    return answer_information(draws, steps=toy.LENGTH, law="states and draws of the toy", **more)


@pytest.fixture(scope="module")
def of_greedy() -> AnswerInformation:
    return made(draws_of(GREEDY, samples=64, seed=1))


def values(information: AnswerInformation, name: str) -> np.ndarray:
    return np.asarray(information.quantities[name].values)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_entropy_is_the_laws_own(of_greedy: AnswerInformation, estimator: str) -> None:
    """Its error stays in its bound: bias by Paninski's for 27 classes, and four standard errors of
    a mean over problems of 64 draws each."""
    for t in range(3):
        truth = np.mean([each.entropy(text[:t]) for each, text in zip(TOYS, GREEDY, strict=True)])
        classes = 3 ** (3 - t)
        bias = np.log2(1 + (classes - 1) / 64)
        noise = 4 * np.sqrt(
            np.mean([variance(each, text[:t]) for each, text in zip(TOYS, GREEDY, strict=True)])
            / 64
            / N
        )
        error = values(of_greedy, f"answer_entropy/{estimator}")[t] - truth
        assert abs(error) <= (bias if estimator == "plug_in" else bias / 4) + noise


def variance(model: Toy, start: Any) -> float:
    """Of -log2 p of an answer: by R of it the variance of an entropy (Basharin 1959)."""
    chances = np.array([model.probability(text, start) for text in toy.texts()])
    chances = chances[chances > 0]
    surprise = -np.log2(chances)
    return float((chances * surprise**2).sum() - (chances * surprise).sum() ** 2)


def test_information_of_drawn_states_is_the_mutual_information() -> None:
    """Over states from the law by which they go on, the mean of I_t is I(A; X_t)."""
    information = made(draws_of(DRAWN, samples=64, seed=2))
    quantity = information.quantities["answer_information/miller_madow"]
    assert quantity.values[0] == 0
    for t in (1, 2):
        truth = np.mean([each.mutual_information(t) for each in TOYS])
        low, high = quantity.interval[:, t]
        margin = 0.75 * (high - low)
        assert low - margin / 2 <= truth <= high + margin / 2
        assert abs(quantity.values[t] - truth) <= high - low


def test_what_was_decided_is_h_at_0_less_h_at_t_problem_by_problem(
    of_greedy: AnswerInformation,
) -> None:
    for estimator in ESTIMATORS:
        entropy = values(of_greedy, f"answer_entropy/{estimator}")
        decided = values(of_greedy, f"answer_information/{estimator}")
        np.testing.assert_allclose(decided, entropy[0] - entropy, atol=1e-12)
    paired = of_greedy.quantities["answer_information/miller_madow"].interval
    apart = of_greedy.quantities["answer_entropy/miller_madow"].interval
    # the pairs share their problem, so that their difference varies less than the two apart
    assert paired[1, 1] - paired[0, 1] < np.hypot(
        apart[1, 0] - apart[0, 0], apart[1, 1] - apart[0, 1]
    )


def test_dealt_out_anew_there_is_no_information(of_greedy: AnswerInformation) -> None:
    control = of_greedy.quantities["answer_information/dealt_out_anew"]
    assert np.isnan(control.values[0]) and (np.abs(control.values[1:]) < 0.01).all()
    assert (np.abs(control.values[1:]) < 4 * control.stderr[1:]).all()
    p = values(of_greedy, "answer_information_p/miller_madow")
    assert p[1:].tolist() == [1 / 200, 1 / 200]


@pytest.mark.parametrize("how", ["between steps", "between problems"])
def test_shuffled_branches_hold_no_information(how: str) -> None:
    from dataclasses import replace

    draws = draws_of(GREEDY, samples=16, seed=3)
    rng = np.random.default_rng(0)
    label = draws.label.copy()
    if how == "between steps":
        flat = label[:, :3].reshape(N, -1)
        label[:, :3] = rng.permuted(flat, axis=1).reshape(N, 3, 16)
    else:  # each draw of a step goes to another problem
        label = np.where(np.arange(4)[None, :, None] < 3, pooled(draws, rng), label)
    information = made(replace(draws, label=label, answers=()))
    quantity = information.quantities["answer_information/miller_madow"]
    assert (quantity.interval[0, 1:] < 0).all() and (quantity.interval[1, 1:] > 0).all()
    assert (np.abs(quantity.values) < 0.1).all()
    assert (values(information, "answer_information_p/miller_madow")[1:] > 0.05).all()


def pooled(draws: Draws, rng: np.random.Generator) -> np.ndarray:
    """[N, K, R] every draw from the same pool, whatever its problem and step."""
    pool = draws.label[:, :3].ravel()
    out = draws.label.copy()
    out[:, :3] = rng.permutation(pool).reshape(N, 3, 16)
    return out


def test_the_mode_and_the_branches_that_are_right(of_greedy: AnswerInformation) -> None:
    """The greedy text is gold here, and the truth of each share can be summed."""
    for t in range(3):
        right = np.mean([m.probability(x, x[:t]) for m, x in zip(TOYS, GREEDY, strict=True)])
        accuracy = of_greedy.quantities["branches/accuracy"]
        assert accuracy.values[t] == pytest.approx(right, abs=0.02)
        spread = np.mean(
            [
                p * (1 - p)
                for m, x in zip(TOYS, GREEDY, strict=True)
                for p in [m.probability(x, x[:t])]
            ]
        )
        assert values(of_greedy, "branches/accuracy_spread")[t] ** 2 == pytest.approx(
            spread, abs=0.01
        )
        most = np.mean(
            [
                max(m.probability(each, x[:t]) for each in toy.texts())
                for m, x in zip(TOYS, GREEDY, strict=True)
            ]
        )
        assert most - 0.01 <= values(of_greedy, "decided/mode_share")[t] <= most + 0.04
    for name in ("decided/mode_is_final", "decided/mode_is_gold"):
        np.testing.assert_array_equal(
            values(of_greedy, name), values(of_greedy, "decided/mode_is_final")
        )
    assert values(of_greedy, "branches/unextracted").tolist() == [0, 0, 0]


def test_decided_counts_problems(of_greedy: AnswerInformation) -> None:
    share = of_greedy.values.mode_share[:, :3]
    for name, least in (("half", 0.5), ("nine_tenths", 0.9), ("all", 1.0)):
        quantity = of_greedy.quantities[f"decided/{name}"]
        np.testing.assert_allclose(quantity.values, (share >= least).mean(axis=0))
        assert (quantity.n == N).all()
        assert (quantity.interval[0] <= quantity.values).all()


def test_ties_of_the_mode_are_shared() -> None:
    from dataclasses import replace

    draws = draws_of(GREEDY[:1], samples=4)
    label = draws.label.copy()
    own = int(draws.final[0])
    other = own + 1
    label[0, 0] = [own, own, other, other]
    label[0, 1] = [own, own + 2, other, other]
    label[0, 2] = [own, own + 2, own + 3, other]
    information = made(replace(draws, label=label, answers=()))
    assert information.values.mode_is_final[0].tolist() == [0.5, 0, 0.25, 1]


def test_the_spread_of_correctness_by_hand() -> None:
    """One of four is right: 1/4 x 3/4 x 4/3; both of two or none: 0."""
    from dataclasses import replace

    draws = draws_of(GREEDY[:1], samples=4)
    correct = draws.correct.copy()
    correct[0, :3] = [[1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    information = made(replace(draws, correct=correct))
    assert information.values.spread[0, :3].tolist() == [0.25, 0, 0]
    assert values(information, "branches/accuracy_spread").tolist() == [0.5, 0, 0]


def test_without_gold_nothing_is_called_right_or_wrong() -> None:
    parent = toy.parent_run(TOYS[:30], GREEDY[:30], [""] * 30)
    branches = toy.branch_run(TOYS[:30], GREEDY[:30], [""] * 30)
    information = made(read_draws(parent, by_law([branches])[0]))
    for name in ("branches/accuracy", "branches/accuracy_spread", "decided/mode_is_gold"):
        quantity = information.quantities[name]
        assert quantity.status == "insufficient: no problem with a value", name
    assert information.quantities["decided/mode_is_final"].ok


def test_every_pivotal_step_begins_somewhere() -> None:
    few = made(draws_of(GREEDY, samples=8))
    beyond = few.pivotal.p <= 0.05
    assert 0.1 < beyond.mean() < 0.9
    share = few.quantities["pivotal/problems"]
    assert float(share.values) == pytest.approx(beyond.mean()) and share.n == N
    here = values(few, "pivotal/here")
    for t in range(3):
        assert here[t] == pytest.approx((beyond & (few.pivotal.step == t)).mean())
    drop = float(few.quantities["pivotal/drop"].values)
    assert drop == pytest.approx(few.pivotal.drop[beyond].mean())


def test_names_and_steps(of_greedy: AnswerInformation) -> None:
    assert tuple(of_greedy.quantities) == NAMES
    sparse = made(draws_of(GREEDY, samples=8, at=(0, 2)))
    for name, quantity in sparse.quantities.items():
        if quantity.dims:
            assert np.isnan(quantity.values[1]) and np.asarray(quantity.n)[1] == 0, name
    assert sparse.columns["answer_entropy"].shape == (N, 3)
    assert np.isnan(sparse.columns["answer_entropy"][:, 1]).all()


def test_without_step_0_there_is_no_information() -> None:
    information = made(draws_of(GREEDY, samples=8, at=(1, 2)))
    for name in NAMES:
        if name.startswith("answer_information"):
            status = information.quantities[name].status
            assert status.startswith("undefined: the first step with branches is 1"), name
            assert "--at 0" in status
    assert information.quantities["answer_entropy/plug_in"].ok


def test_r_too_small_is_said_and_no_value_shown() -> None:
    """27 answers nearly alike: of 4 draws hardly two are the same."""
    flat = [Toy(seed, sharpness=0.0) for seed in range(60)]
    states = [each.draw(RNG) for each in flat]
    parent = toy.parent_run(flat, states, GOLD[:60])
    branches = toy.branch_run(flat, states, GOLD[:60], samples=4)
    information = made(read_draws(parent, by_law([branches])[0]))
    assert information.saturated.tolist() == [True, True, True, False]
    assert cannot_tell(4) == "R = 4 cannot tell more than 2 bits apart"
    for estimator in ESTIMATORS:
        for kind in ("answer_entropy", "answer_information"):
            status = information.quantities[f"{kind}/{estimator}"].status
            assert status.startswith("insufficient: R = 4 cannot tell more than 2 bits apart"), kind
    assert information.quantities["decided/mode_share"].ok

    enough = toy.branch_run(flat, states, GOLD[:60], samples=64)
    information = made(read_draws(parent, by_law([enough])[0]))
    assert not information.saturated.any()
    assert values(information, "answer_entropy/miller_madow") == pytest.approx(
        [np.log2(27), np.log2(9), np.log2(3)], abs=0.08
    )


def test_one_draw_tells_nothing() -> None:
    information = made(draws_of(GREEDY, samples=1))
    status = information.quantities["answer_entropy/miller_madow"].status
    assert status.startswith("insufficient: R = 1 cannot tell more than 0 bits apart")
    assert information.saturated.tolist() == [True, True, True, False]  # the end is known


def test_missing_branches_lower_n_and_nothing_else() -> None:
    lost = [f"p{row}@2.0#5" for row in range(40)]
    information = made(draws_of(GREEDY, samples=16, lost=lost))
    whole = made(draws_of(GREEDY, samples=16))
    for name in ("answer_entropy/plug_in", "decided/half", "branches/accuracy"):
        assert np.asarray(information.quantities[name].n).tolist() == [N, N, N - 40]
        np.testing.assert_array_equal(values(information, name)[:2], values(whole, name)[:2])
    rest = whole.values.entropy.plug_in[40:, 2].mean()
    assert values(information, "answer_entropy/plug_in")[2] == pytest.approx(rest)

    none = made(
        draws_of(GREEDY[:2], samples=2, lost=[f"p{r}@{t}.0#0" for r in range(2) for t in range(3)])
    )
    assert (
        "6 branches missing; run the same `diffengine branch`"
        in none.quantities["decided/all"].status
    )


def test_samples_of_a_problem_are_one_problem() -> None:
    """Four decodings of each of 30 problems: n is 30, and the interval that of 30 means."""
    groups = [f"g{row // 4}" for row in range(N)]
    grouped = made(draws_of(DRAWN, groups=groups, samples=16))
    alone = made(draws_of(DRAWN, samples=16))
    for name in ("answer_entropy/miller_madow", "branches/accuracy", "decided/half"):
        assert (np.asarray(grouped.quantities[name].n) == 30).all(), name
        np.testing.assert_allclose(values(grouped, name), values(alone, name))
    by_hand = alone.values.entropy.plug_in[:, 1].reshape(30, 4).mean(axis=1)
    low, high = grouped.quantities["answer_entropy/plug_in"].interval[:, 1]
    assert high - low == pytest.approx(2 * 1.96 * by_hand.std(ddof=1) / np.sqrt(30), rel=0.2)


def test_rank_correlation_with_metrics() -> None:
    draws = draws_of(GREEDY, samples=32)
    exact = np.array(
        [[m.entropy(x[:t]) for t in range(3)] for m, x in zip(TOYS, GREEDY, strict=True)]
    )
    metrics = {"answer/confidence": -exact, "entropy/masked": exact}
    information = made(draws, metrics=metrics)
    down = information.quantities["answer_entropy_rank/answer_confidence"]
    up = information.quantities["answer_entropy_rank/masked_entropy"]
    assert (down.values < -0.8).all() and (up.values > 0.8).all()
    assert (up.interval[0] < up.values).all() and (up.values < up.interval[1]).all()
    absent = information.quantities["answer_entropy_rank/gold_confidence"]
    assert absent.status.startswith("insufficient: 0 problems with both values (at least 20")
    flat = made(draws, metrics={"entropy/masked": np.ones((N, 3))})
    status = flat.quantities["answer_entropy_rank/masked_entropy"].status
    assert status == "insufficient: one of the two does not vary at any step"


def test_the_seed_decides_all_that_is_drawn() -> None:
    draws = draws_of(GREEDY[:40], samples=8)
    one, other, third = made(draws, seed=1), made(draws, seed=1), made(draws, seed=2)
    for name in NAMES:
        np.testing.assert_array_equal(values(one, name), values(other, name))
    first = one.quantities["answer_entropy/plug_in"].interval
    assert (first[:, :2] != third.quantities["answer_entropy/plug_in"].interval[:, :2]).any()
