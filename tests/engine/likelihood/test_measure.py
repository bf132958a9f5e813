"""Likelihoods of an answer against brute force on a model small enough to try every answer."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from diffengine.engine.likelihood import measure as likelihood
from diffengine.engine.likelihood.measure import (
    Place,
    likelihood_bound,
    posterior,
    sequential_logprob,
)
from diffengine.engine.models.attention import packing_of

CANVAS = torch.tensor([40, 41, 42, 43, 44, 45, 46])
POSITIONS, ANSWER = [3, 5], [21, 30]
PLACE = Place(CANVAS, POSITIONS)


def logprob_of(model, canvas: list[int], at: int) -> torch.Tensor:
    ids = torch.tensor(canvas)
    hidden = model.hidden(ids, torch.arange(len(ids)), packing_of([len(ids)], ids.device))
    logits = (hidden[at] @ model.head_weight.T).double()
    keep = torch.full_like(logits, -math.inf)
    keep[: model.n_candidates] = 0
    keep[model.token_ids.mask] = -math.inf
    return (logits + keep).log_softmax(0)


def filled(model, known: dict[int, int]) -> list[int]:
    canvas = CANVAS.tolist()
    for at in POSITIONS:
        canvas[at] = known.get(at, model.token_ids.mask)
    return canvas


def factorised(model) -> float:
    """log p of both tokens with both of them masked: one forward."""
    canvas = filled(model, {})
    pairs = zip(POSITIONS, ANSWER, strict=True)
    return sum(float(logprob_of(model, canvas, position)[token]) for position, token in pairs)


def test_sequential_is_the_chain_rule_in_the_surest_order(random_model):
    blank = filled(random_model, {})
    sure = [float(logprob_of(random_model, blank, at).max()) for at in POSITIONS]
    order = sorted(range(2), key=lambda j: -sure[j])
    first, second = order
    expected = float(logprob_of(random_model, blank, POSITIONS[first])[ANSWER[first]])
    then = filled(random_model, {POSITIONS[first]: ANSWER[first]})
    expected += float(logprob_of(random_model, then, POSITIONS[second])[ANSWER[second]])
    assert sequential_logprob(random_model, PLACE, ANSWER) == pytest.approx(expected, abs=1e-4)


def test_sequential_probabilities_of_all_answers_sum_to_one(random_model, monkeypatch):
    """Over the five tokens that the model is restricted to for this test, 25 answers of two
    tokens."""
    allowed = [21, 22, 23, 30, 31]
    whole = likelihood._logprobs

    def restricted(model, canvases, positions):
        found = whole(model, canvases, positions)
        outside = torch.full_like(found, -math.inf)
        outside[..., allowed] = 0
        return (found + outside).log_softmax(-1)

    monkeypatch.setattr(likelihood, "_logprobs", restricted)
    total = sum(math.exp(sequential_logprob(random_model, PLACE, list(answer)))
                for answer in itertools.product(allowed, repeat=2))  # fmt: skip
    assert total == pytest.approx(1, abs=1e-6)


def test_the_bound_has_the_expectation_of_all_its_draws(random_model):
    """L = 2: l = 1 hides either position (2 log p), l = 2 hides both; the mean over them is known
    exactly."""
    alone = [float(logprob_of(random_model, filled(random_model, {POSITIONS[1 - j]: ANSWER[1 - j]}), at)[ANSWER[j]])
             for j, at in enumerate(POSITIONS)]  # fmt: skip
    both = factorised(random_model)
    expected = 0.5 * (2 * sum(alone) / 2) + 0.5 * both
    found = likelihood_bound(random_model, PLACE, ANSWER, draws=600)
    assert abs(found.nats - expected) < 4 * found.stderr
    assert found == likelihood_bound(random_model, PLACE, ANSWER, draws=600)


def test_one_token_needs_no_draws(random_model):
    place = Place(CANVAS, [3])
    canvas = CANVAS.tolist()
    canvas[3] = random_model.token_ids.mask
    exact = float(logprob_of(random_model, canvas, 3)[21])
    assert sequential_logprob(random_model, place, [21]) == pytest.approx(exact, abs=1e-6)
    found = likelihood_bound(random_model, place, [21], draws=1)
    assert found.nats == pytest.approx(exact, abs=1e-5) and math.isnan(found.stderr)


def test_posterior_and_errors(random_model):
    assert posterior([math.log(0.2), math.log(0.6), -math.inf]) == pytest.approx([0.25, 0.75, 0])
    with pytest.raises(
        ValueError,
        match=r"2 answer tokens at positions \[3\] of a canvas of 7; expected one position",
    ):
        likelihood_bound(random_model, Place(CANVAS, [3]), [1, 2])
    with pytest.raises(ValueError, match="inside of the canvas"):
        sequential_logprob(random_model, Place(CANVAS, [9]), [1])
