"""The curves of a run: found where they were put, absent where there is nothing, insufficient where
data are few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from diffengine.analysis.information import estimate, features
from diffengine.analysis.information.over_steps import mutual_information
from diffengine.analysis.information.targets import log_size
from diffengine.analysis.metrics.block import read_block
from diffengine.engine.store.format.verdicts import NO_ANSWER_EXTRACTED

STEPS, POSITIONS, WIDTH = 6, 8, 12
NAMES = ["ross", "binning", "gcmi", "ross_summary", "decoder", "ross_oof", "ksg1"]


class Asked(NamedTuple):
    id: str
    question: str
    answer: str | None
    origin: None = None

    @property
    def group_id(self) -> str:
        return self.id


@pytest.fixture
def make(make_columns: Callable[..., dict[str, np.ndarray]], fake_run: type) -> Callable[..., Any]:
    """A run in which correctness shows in belief, logits and state from step 3 on; `told` False:
    nowhere."""

    def run(
        problems: int = 240,
        *,
        told: bool = True,
        record: str = "all",
        samples: int = 1,
        **changes: Any,
    ) -> Any:
        rng = np.random.default_rng(7)
        columns = make_columns(problems, STEPS, POSITIONS)
        y = rng.integers(0, 2, problems)
        size = rng.lognormal(3, 1, problems)
        signal = (2 * y - 1)[:, None] * (np.arange(STEPS) >= 3) * told + rng.normal(
            size=(problems, STEPS)
        )
        at = signal[:, :, None] + 0.3 * rng.normal(size=(problems, STEPS, POSITIONS))
        state = rng.normal(size=(problems, STEPS, WIDTH))
        state[:, :, 0] += signal
        state[:, :, 1] += np.log1p(size)[:, None] * told
        narrow = {"logprob": -np.exp(-at), "entropy": np.exp(-at), "margin": at, "logsumexp": at + 9,
                  "logit_mean": at - 1, "logit_std": np.exp(0.1 * at), "state_answer": state}  # fmt: skip
        columns |= {name: values.astype(np.float32) for name, values in narrow.items()}
        columns["verdict"] = y.astype(np.uint8)
        # The answer's one position commits at the last step, so that nothing is frozen before.
        columns["committed"] = np.zeros_like(columns["committed"])
        columns["committed"][:, np.arange(POSITIONS) * STEPS // POSITIONS, np.arange(POSITIONS)] = 1
        columns |= changes
        made = fake_run(columns, record=record)
        made.problems = [
            Asked(name, f"q{row // samples}", f"{size[row]:.3f}")
            for row, name in enumerate(made.ids)
        ]
        return made

    return run


def test_information_is_found_from_where_it_begins(make: Callable[..., Any]) -> None:
    found = mutual_information(make())
    assert set(found.quantities) >= {
        f"{p}/{n}"
        for n in NAMES
        for p in (("mi_size", "mi_size_p") if n == "ksg1" else ("mi", "mi_p"))
    }
    for name in NAMES[:-1]:
        value, p = found.quantities[f"mi/{name}"], found.quantities[f"mi_p/{name}"]
        assert (
            value.ok
            and value.units == "bits"
            and value.dims == ("step",)
            and value.n.tolist() == [240] * STEPS
        )
        assert (value.values[3:] > 0.08).all() and (np.abs(value.values[:3]) < 0.15).all()
        assert (value.stderr > 0.003).all() and (value.stderr < 0.2).all()
        assert (p.values[3:] == 1 / 200).all() and (p.values[:3] > 0.05).all()
    size = found.quantities["mi_size/ksg1"]
    assert (
        size.ok
        and (size.values > 0.1).all()
        and (found.quantities["mi_size_p/ksg1"].values == 1 / 200).all()
    )
    assert (
        found.info["entropy_correct_bits"] == pytest.approx(1, abs=0.01)
        and found.info["shown_first"] == "ross"
    )


def test_nothing_is_found_where_there_is_nothing(make: Callable[..., Any]) -> None:
    found = mutual_information(make(told=False))
    for name in NAMES[:-1]:
        assert (np.abs(found.quantities[f"mi/{name}"].values) < 0.15).all()
        assert (found.quantities[f"mi_p/{name}"].values > 0.05).all()
    assert (found.quantities["mi_size_p/ksg1"].values > 0.05).all()


def test_the_curve_is_the_estimator(make: Callable[..., Any]) -> None:
    run = make()
    found = mutual_information(run, permutations=19)
    narrow, y = features.narrow_features(run), run["verdict"]
    for step in (0, 4):
        bits = estimate("ross", narrow["belief"][:, step], y, scale="rank").bits
        assert found.quantities["mi/ross"].values[step] == pytest.approx(bits)
        bits = estimate("gcmi", narrow["belief"][:, step], y).bits
        assert found.quantities["mi/gcmi"].values[step] == pytest.approx(bits)
        state = run["state_answer"][:, min(step, 5)].astype(float)
        groups = np.arange(240)
        bits = estimate(
            "decoder", state, y, groups=np.unique([f"q{i}" for i in groups], return_inverse=True)[1]
        ).bits
        assert found.quantities["mi/decoder"].values[step] == pytest.approx(bits)


def test_the_same_again(make: Callable[..., Any]) -> None:
    one, two = (mutual_information(make(), permutations=19, seed=3) for _ in range(2))
    for name, quantity in one.quantities.items():
        np.testing.assert_array_equal(quantity.values, two.quantities[name].values)


@pytest.mark.parametrize("problems, more", [(90, 10), (0, 100)])
def test_too_few_problems(make_run: Callable[..., Any], problems: int, more: int) -> None:
    reason = f"{problems} problems (at least 100; {more} more would suffice)"
    found = mutual_information(make_run(problems))
    assert all(
        quantity.status.startswith("insufficient: ") for quantity in found.quantities.values()
    )
    assert found.quantities["mi/ross"].status == f"insufficient: {reason}"
    assert np.isnan(found.quantities["mi/ross"].values).all() and found.warnings == []


def test_a_small_class_and_sizes_that_are_classes(make: Callable[..., Any]) -> None:
    run = make(verdict=(np.arange(240) < 19).astype(np.uint8))
    run.problems = [one._replace(answer=str(row % 3)) for row, one in enumerate(run.problems)]
    found = mutual_information(run)
    assert found.quantities["mi/decoder"].status == (
        "insufficient: 19 problems in the smallest class (at least 20; 1 more would suffice)"
    )
    assert (
        found.quantities["mi_size/ksg1"].status
        == "insufficient: gold answers have fewer than 10 different sizes"
    )


def test_problems_without_an_answer_are_left_out(make: Callable[..., Any]) -> None:
    verdict = np.arange(240).astype(np.uint8) % 2
    verdict[:30] = 2
    start = np.where(np.arange(240) < 30, -1, POSITIONS - 1).astype(np.int32)
    found = mutual_information(make(verdict=verdict, answer_start=start), permutations=19)
    assert found.quantities["mi/ross"].n.tolist() == [210] * STEPS and found.info["n_graded"] == 210
    assert found.quantities["mi_size/ksg1"].n.tolist() == [210] * STEPS


def test_too_few_extracted_answers_are_not_called_too_few_gold_answers(
    make: Callable[..., Any],
) -> None:
    verdict = np.full(240, NO_ANSWER_EXTRACTED, np.uint8)
    verdict[:40] = np.arange(40) % 2
    status = mutual_information(make(verdict=verdict)).quantities["mi/ross"].status
    assert "200 of 240 are without an extracted or a gold answer" in status


def test_steps_that_were_not_performed_have_no_value(make: Callable[..., Any]) -> None:
    performed = np.ones((240, STEPS), np.uint8)
    performed[:, 2] = 0
    found = mutual_information(make(performed=performed), permutations=19)
    for quantity in found.quantities.values():
        assert (
            np.isnan(quantity.values[2])
            and np.isfinite(np.delete(quantity.values, 2)).all()
            and quantity.n[2] == 0
        )


def test_a_run_that_recorded_masked_positions_only(make: Callable[..., Any]) -> None:
    found = mutual_information(make(record="masked"), permutations=19)
    assert found.quantities["mi/ross_summary"].status.startswith(
        "insufficient: needs all positions"
    )
    assert found.quantities["mi/ross"].ok


def test_samples_of_one_question_are_one_problem(make: Callable[..., Any]) -> None:
    """Four samples of a question that fare alike and look alike: no information, however many rows
    repeat it."""
    y = np.repeat(np.random.default_rng(3).integers(0, 2, 60), 4).astype(np.uint8)
    alike = np.repeat(np.random.default_rng(4).normal(size=(60, STEPS, WIDTH)), 4, axis=0)
    alike = alike + 0.01 * np.random.default_rng(5).normal(size=alike.shape)
    found = mutual_information(
        make(told=False, samples=4, verdict=y, state_answer=alike.astype(np.float32))
    )
    assert (found.quantities["mi/decoder"].values < 0.05).all()
    assert (found.quantities["mi_p/decoder"].values > 0.05).all()
    assert (found.quantities["mi_p/ross"].values > 0.01).all()


def test_belief_by_hand(make_columns: Callable[..., dict[str, np.ndarray]]) -> None:
    columns = make_columns(2, 3, 4)
    rng = np.random.default_rng(0)
    columns |= {name: rng.normal(size=(2, 3, 4)) for name in ("logprob", "margin", "entropy")}
    columns["committed"] = np.zeros((2, 3, 4), np.uint8)
    columns["committed"][:, 0, 2] = columns["committed"][:, 2, 3] = 1
    columns["answer_start"], columns["answer_end"] = np.array([2, -1]), np.array([4, -1])
    found = features.belief(read_block(columns))
    assert np.isnan(found[1]).all()
    for step in range(3):
        at = [(0, 2), (step, 3)]  # the first froze at step 0
        assert found[0, step, 0] == pytest.approx(sum(columns["logprob"][0, s, p] for s, p in at))
        assert found[0, step, 1] == pytest.approx(
            np.mean([columns["entropy"][0, s, p] for s, p in at])
        )
        assert found[0, step, 2] == pytest.approx(min(columns["margin"][0, s, p] for s, p in at))


def test_summary_is_exact_from_the_recorded_moments(
    make_columns: Callable[..., dict[str, np.ndarray]],
) -> None:
    columns = make_columns(3, 2, 5)
    logits = np.random.default_rng(0).normal(size=(3, 2, 5, 11)) * 2
    lse = np.log(np.exp(logits).sum(axis=3))
    columns |= {"logit_mean": logits.mean(axis=3), "logit_std": logits.std(axis=3), "logsumexp": lse,
                "logprob": logits.max(axis=3) - lse}  # fmt: skip
    found = features.summary(read_block(columns))
    flat = logits.reshape(3, 2, -1)
    np.testing.assert_allclose(found[:, :, 0], flat.mean(axis=2))
    np.testing.assert_allclose(found[:, :, 1], flat.std(axis=2))
    np.testing.assert_allclose(found[:, :, 2], flat.max(axis=2))
    np.testing.assert_allclose(found[:, :, 3], columns["entropy"].astype(float).mean(axis=2))


def test_the_state_freezes_with_the_answer(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(120)
    committed = np.zeros((120, STEPS, POSITIONS), np.uint8)
    committed[:, 2, :] = 1
    run._columns["committed"] = committed
    whole = dict(features.states(run, np.arange(STEPS)))
    for step in range(STEPS):
        np.testing.assert_array_equal(whole[step], run["state_answer"][:, min(step, 2)])
    monkeypatch.setattr(features, "STATE_BYTES", 1)
    for step, values in features.states(run, np.arange(STEPS)):
        np.testing.assert_array_equal(values, whole[step])


@pytest.mark.parametrize("text, value", [
    ("18", np.log(19)), ("-3", -np.log(4)), ("$1,200.50", np.log(1201.5)), ("x", np.nan), (None, np.nan),
    ("1/2", np.nan),
])  # fmt: skip
def test_the_size_of_an_answer(text: str | None, value: float) -> None:
    assert log_size(text) == pytest.approx(value, nan_ok=True)
