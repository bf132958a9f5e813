"""The curve of a run beyond its first step: found where denoising adds something, nothing where it
adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.information.beyond_first_step import NAME, beyond_first_step

STEPS, POSITIONS, WIDTH, BEGINS = 8, 8, 6, 4
P = NAME.replace("/", "_p/")


class Asked(NamedTuple):
    id: str
    question: str
    answer: str | None
    accepted: tuple[str, ...] = ()
    origin: None = None

    @property
    def group_id(self) -> str:
        return self.id


@pytest.fixture
def make(make_columns: Callable[..., dict[str, np.ndarray]], fake_run: type) -> Callable[..., Any]:
    """A run whose difficulty can be read at every step and decides the outcome; `gain`: what step 4
    adds to it."""

    def run(problems: int = 400, *, gain: float = 0.0, samples: int = 1, **changes: Any) -> Any:
        rng = np.random.default_rng(12)
        columns = make_columns(problems, STEPS, POSITIONS)
        difficulty, new = np.repeat(rng.normal(size=(2, problems // samples)), samples, axis=1)
        y = (rng.random(problems) < 1 / (1 + np.exp(-(1.2 * difficulty + gain * new)))).astype(
            np.uint8
        )
        if samples > 1:
            y = np.repeat(y[::samples], samples)
        at = difficulty[:, None] + np.cumsum(0.5 * rng.normal(size=(problems, STEPS)), axis=1)
        at += 2 * gain * new[:, None] * (np.arange(STEPS) >= BEGINS)
        wide = at[:, :, None] + 0.3 * rng.normal(size=(problems, STEPS, POSITIONS))
        state = rng.normal(size=(problems, STEPS, WIDTH))
        state[:, :, 0] = 3 * difficulty[:, None]
        columns |= {"logprob": -np.exp(-wide), "entropy": np.exp(-wide), "margin": wide}
        columns |= {name: wide for name in ("logsumexp", "logit_mean", "logit_std")}
        columns |= {"state_answer": state.astype(np.float32), "verdict": y} | changes
        columns["committed"] = np.zeros_like(columns["committed"])
        columns["committed"][:, np.arange(POSITIONS) * STEPS // POSITIONS, np.arange(POSITIONS)] = 1
        made = fake_run(columns)
        made.problems = [
            Asked(name, f"q{row // samples}", "1") for row, name in enumerate(made.ids)
        ]
        return made

    return run


def test_difficulty_alone_adds_nothing(make: Callable[..., Any]) -> None:
    found = beyond_first_step(make())
    value, p = found.quantities[NAME], found.quantities[P]
    assert (
        value.ok
        and value.units == "bits"
        and value.n.tolist() == [400] * STEPS
        and found.warnings == []
    )
    assert (np.abs(value.values) < 0.02).all() and (p.values > 0.05).all()
    assert found.info == {"first_step": 0, "strata": 20, "features": WIDTH + 3}


def test_it_rises_where_something_is_added(make: Callable[..., Any]) -> None:
    found = beyond_first_step(make(gain=1.2))
    value, p = found.quantities[NAME], found.quantities[P]
    assert (np.abs(value.values[:BEGINS]) < 0.03).all() and (p.values[:BEGINS] > 0.05).all()
    assert (value.values[BEGINS:] > 0.05).all() and (p.values[BEGINS:] == 1 / 200).all()
    assert (value.stderr[BEGINS:] > 0.005).all() and (value.stderr[BEGINS:] < 0.05).all()


def test_samples_of_one_question_are_one_problem(make: Callable[..., Any]) -> None:
    """Four samples that fare alike, and a belief that tells questions apart but not how they
    fare."""
    rng = np.random.default_rng(3)
    mark = np.repeat(rng.normal(size=(60, STEPS)), 4, axis=0)[:, :, None]
    mark = mark + 0.05 * rng.normal(size=(240, STEPS, POSITIONS))
    found = beyond_first_step(
        make(240, samples=4, logprob=-np.exp(-mark), margin=mark, entropy=np.exp(-mark))
    )
    assert (found.quantities[P].values > 0.05).all()


def test_a_first_step_that_is_not_read_whole_is_said(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a baseline that knows nothing of the first step, the first step itself is significant:
    the warning."""
    from diffengine.analysis.information import beyond_first_step as module

    real = module._features

    def blind(*arguments: Any) -> Any:
        features = real(*arguments)
        noise = np.random.default_rng(0).normal(size=(len(features.at_first), 2))
        return features._replace(at_first=noise)

    monkeypatch.setattr(module, "_features", blind)
    found = module.beyond_first_step(make())
    assert (
        len(found.warnings) == 1
        and "at the first step, where it should find nothing" in found.warnings[0]
    )


@pytest.mark.parametrize("problems, more", [(90, 10), (0, 100)])
def test_too_few_problems(make_run: Callable[..., Any], problems: int, more: int) -> None:
    reason = f"{problems} problems (at least 100; {more} more would suffice)"
    found = beyond_first_step(make_run(problems))
    assert (
        found.quantities[NAME].status == f"insufficient: {reason}"
        and np.isnan(found.quantities[NAME].values).all()
    )
    assert found.quantities[P].status == f"insufficient: {reason}" and found.warnings == []


def test_problems_without_a_place_and_steps_not_performed(make: Callable[..., Any]) -> None:
    start = np.where(np.arange(400) < 40, -1, POSITIONS - 1).astype(np.int32)
    performed = np.ones((400, STEPS), np.uint8)
    performed[:, [0, 5]] = 0
    found = beyond_first_step(make(answer_start=start, performed=performed))
    value = found.quantities[NAME]
    assert found.info["first_step"] == 1 and value.n.tolist() == [
        0,
        360,
        360,
        360,
        360,
        0,
        360,
        360,
    ]
    assert (
        np.isnan(value.values[[0, 5]]).all() and np.isfinite(np.delete(value.values, [0, 5])).all()
    )


def test_it_is_in_the_analysis(make: Callable[..., Any]) -> None:
    found = analyze_run(make(120), mutual_information=True)
    assert (
        found[NAME].ok
        and found[P].ok
        and found.info["mutual_information"]["beyond_first_step"]["strata"] == 6
    )
