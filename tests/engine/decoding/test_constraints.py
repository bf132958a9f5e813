"""Forced and forbidden tokens against a loop written out slowly, on every policy, and beside rows
that know nothing of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.policies import policies_for
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.prompts.start import Start
from diffengine.engine.prompts.steering import Constraints
from diffengine.kernels import shaping
from diffengine.kernels.head import Head, Rows, Sampling
from diffengine.kernels.noise import token_noise
from diffengine.kernels.shaping import Shaping

G = 12
BASE = {"gen_length": G, "steps": G, "save_logits": "none"}
NOT_WALKED = np.zeros(0, bool)
Packed = Callable[..., dict[str, dict[str, Any]]]
PromptsOf = Callable[..., list[Prompt]]


def begun(prompt: Prompt, mask: int, constraints: Constraints) -> Prompt:
    """The prompt with a canvas of masks and these constraints from step 0 on."""
    start = Start(0, np.full(G, mask), np.empty((0, G), int), NOT_WALKED, constraints=constraints)
    return prompt._replace(start=start)


def twin(
    model: MaskedDiffusionModel, prompt: Prompt, constraints: Constraints, temperature: float
) -> list[list[int]]:
    """The canvas after each step of LLaDA's sampler in one block, one token a step."""
    first = len(prompt.token_ids)
    mask = model.token_ids.mask
    x = torch.tensor([*prompt.token_ids, *[mask] * G])
    states = []
    for step in range(G):
        hidden = model.hidden(x, torch.arange(len(x)), packing_of([len(x)], model.device))
        logits = (hidden @ model.head_weight.T)[first:]
        believed = logits.float().softmax(-1)
        proposable = logits.clone()
        proposable[:, mask] = -torch.inf
        proposable[:, model.n_candidates :] = -torch.inf
        for position, ids in constraints.forbidden.items():
            proposable[position, list(ids)] = -torch.inf
            limited = logits[position].float().clone()
            limited[list(ids)] = -torch.inf
            believed[position] = limited.softmax(-1)

        chosen = proposable.argmax(-1)
        if temperature > 0:
            position = torch.arange(G)
            counter = torch.stack(
                [torch.full((G,), prompt.key), position, torch.full((G,), step)], 1
            )
            noise = token_noise(counter, vocabulary=logits.shape[1], seed=0)
            chosen = (proposable.double() - temperature * noise.log()).argmax(-1)
        for position, token in constraints.forced.items():
            chosen[position] = token
            believed[position] = logits[position].float().softmax(-1)

        confidence = believed.gather(1, chosen[:, None]).squeeze(1)
        confidence[x[first:] != mask] = -torch.inf
        place = int(confidence.argmax())
        x[first + place] = chosen[place]
        states.append(x[first:].tolist())
    return states


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_loop_is_the_slow_one(
    temperature: float,
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
) -> None:
    config = RunConfig.of(model="test", block_length=G, temperature=temperature, **BASE)
    mask = random_model.token_ids.mask
    plain = packed(random_model, config, prompts_of(random_model, G))
    prompts = []
    for number, prompt in enumerate(prompts_of(random_model, G)):
        usual = plain[prompt.problem.id]["token"][-1]
        constraints = Constraints(
            forced={number % G: 17 + number, (number + 5) % G: 40},
            # what would have been committed, and the most of what could be
            forbidden={p: (int(usual[p]), *range(100 * (p % 3))) for p in (1, 3, 7, 9)},
        )
        prompts.append(begun(prompt, mask, constraints))

    finished = packed(random_model, config, prompts)
    changed = 0
    for prompt in prompts:
        assert prompt.start is not None
        with torch.inference_mode():
            expected = twin(random_model, prompt, prompt.start.constraints, temperature)
        token = finished[prompt.problem.id]["token"]
        assert token.tolist() == expected
        changed += int((token[-1] != plain[prompt.problem.id]["token"][-1]).sum())
    assert changed > 12


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "llada": [
        {"block_length": 4},
        {"block_length": 4, "temperature": 0.7},
        {"block_length": 6, "remasking": "random"},
        {"block_length": 12, "cfg_scale": 0.5},
        {"block_length": 12, "confidence_eos_eot_inf": True},
        {"block_length": 12, "logits_eos_inf": True},
        {"block_length": 4, "temperature": 0.7, "numerics": "reference"},
    ],
    "dream": [
        {"alg": "origin", "temperature": 0.7},
        {"alg": "entropy", "temperature": 0.3, "top_p": 0.9},
        {"alg": "maskgit_plus", "top_k": 40},
        {"alg": "topk_margin", "temperature": 0.5},
    ],
    "rnd1": [{"temperature": 0.8, "top_k": 40}],
}
CASES = [
    (policy, options)
    for policy in policies_for(blocks=False)
    for options in OPTIONS.get(policy, [{}, {"temperature": 0.7}])
]


@pytest.mark.parametrize("record", ["all", "masked"])
@pytest.mark.parametrize(("policy", "options"), CASES, ids=lambda part: str(part))
def test_of_every_policy(
    policy: str,
    options: dict[str, Any],
    record: str,
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
) -> None:
    config = RunConfig.of(model="test", policy=policy, record=record, **BASE | options)
    mask = random_model.token_ids.mask
    prompts = prompts_of(random_model, G)
    plain = packed(random_model, config, prompts)
    constrained = []
    for number, prompt in enumerate(prompts):
        usual = plain[prompt.problem.id]["token"][-1]
        limits = Constraints()
        if number % 3 == 0:
            limits = Constraints({2: 17, 5: 40}, {2: (17,), 8: tuple(range(0, 500))})
        if number % 3 == 1:
            # forced to what is committed anyway, where the rule lets it be proposed
            limits = Constraints({p: int(usual[p]) for p in range(0, G, 2)})
        constrained.append(begun(prompt, mask, limits))

    finished = packed(random_model, config, constrained)
    for number, prompt in enumerate(constrained):
        columns = finished[prompt.problem.id]
        final = columns["token"][-1]
        if number % 3 == 0:
            held = final[[2, 5, 8]]
            assert held[0] in (17, mask) and held[1] in (40, mask)
            assert held[2] >= 500 or held[2] == mask
        if number % 3 == 2:
            for name, values in plain[prompt.problem.id].items():
                if name not in ("seconds", "start_token"):
                    assert np.array_equal(
                        values, columns[name], equal_nan=np.asarray(values).dtype.kind == "f"
                    ), name


@pytest.mark.parametrize(
    ("policy", "options"),
    [("llada", {"block_length": 4}), ("llada", {"block_length": 4, "temperature": 0.7})],
    ids=str,
)
def test_a_token_that_is_proposed_anyway_changes_no_bit(
    policy: str,
    options: dict[str, Any],
    random_model: MaskedDiffusionModel,
    packed: Packed,
    prompts_of: PromptsOf,
) -> None:
    """One step: whatever a position would propose is forced, and all stays as it was."""
    config = RunConfig.of(model="test", policy=policy, **BASE | options)
    mask = random_model.token_ids.mask
    prompts = prompts_of(random_model, G)
    plain = packed(random_model, config, prompts)
    for prompt in prompts:
        first = plain[prompt.problem.id]
        place = int(first["committed"][0].argmax())
        limits = Constraints({place: int(first["token"][0, place])})
        forced = packed(random_model, config, [begun(prompt, mask, limits)])
        for name in ("token", "entropy", "logprob", "committed", "hidden", "state_masked"):
            if name in first:
                assert np.array_equal(
                    first[name], forced[prompt.problem.id][name], equal_nan=name != "committed"
                ), name


def rows_of(n: int = 7) -> Rows:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(n, 16, generator=generator)
    counter = torch.stack([torch.full((n,), 3), torch.arange(n), torch.full((n,), 2)], 1)
    return Rows(hidden, counter=counter)


SAMPLINGS = {
    "greedy": Sampling(exclude_id=4, n_candidates=90),
    "drawn": Sampling(temperature=0.8, exclude_id=4, n_candidates=90),
    "quiet": Sampling(confidence_suppress=(7,), exclude_id=4),
    "literal": Sampling(temperature=0.8, literal=True),
    "cut": Sampling(temperature=0.8, exclude_id=4, shaping=Shaping(top_k=5)),
    "margin": Sampling(exclude_id=4, shaping=Shaping(score="margin")),
    "entropy": Sampling(temperature=0.5, shaping=Shaping(top_p=0.9, score="entropy")),
}


def head_of(sampling: Sampling, *, without: list[int] | None = None, chunk: int = 1024) -> Head:
    """A head whose rows of these tokens can never be chosen: as if they had never been there."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(100, 16, generator=generator)
    head = Head(weight, sampling=sampling, chunk_rows=chunk)
    if without is not None:
        project = head.logits

        def logits(hidden: torch.Tensor) -> torch.Tensor:
            made = project(hidden)
            made[:, without] = -torch.inf
            return made

        head.logits = logits  # type: ignore[method-assign]
    return head


@pytest.mark.parametrize("chunk", [2, 1024])
@pytest.mark.parametrize("name", sorted(SAMPLINGS))
def test_without_a_token_is_as_if_it_had_never_been(name: str, chunk: int) -> None:
    """Token by token of a head that lacks the forbidden ones, for each row others."""
    sampling = SAMPLINGS[name]
    rows = rows_of()
    best = head_of(sampling).step(rows)[1].token
    forbidden = torch.stack([best, torch.arange(len(best)) + 10], 1)
    again = head_of(sampling, chunk=chunk).propose_without(rows, forbidden)
    for number in range(len(best)):
        lacking = head_of(sampling, without=forbidden[number].tolist())
        one = lacking.step(rows.select(slice(number, number + 1)))[1]
        assert again.token[number] == one.token[0]
        assert again.confidence[number] == pytest.approx(float(one.confidence[0]), rel=1e-6)
        assert again.token[number] not in forbidden[number]


@pytest.mark.parametrize("chunk", [2, 1024])
@pytest.mark.parametrize("name", sorted(SAMPLINGS))
def test_the_confidence_of_a_forced_token(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shaping, "BLOCK", 300)  # three rows at a time
    sampling = SAMPLINGS[name]
    rows = rows_of()
    head = head_of(sampling, chunk=chunk)
    proposal = head.step(rows)[1]
    same = head.propose_this(rows, proposal.token)
    assert torch.equal(same.token, proposal.token)
    assert torch.equal(same.confidence, proposal.confidence)

    other = torch.arange(7, 7 + len(proposal.token))
    forced = head.propose_this(rows, other)
    assert torch.equal(forced.token, other)
    logits = head.logits(rows.hidden)
    p = logits.softmax(-1)
    expected = p.gather(1, other[:, None]).squeeze(1)
    if name == "quiet":
        logits[:, 7] = -torch.inf
        expected = logits.softmax(-1).gather(1, other[:, None]).squeeze(1)
    if name == "cut":
        logits[:, 4] = -torch.inf
        kept = logits >= logits.topk(5).values[:, -1:]
        cut = torch.where(kept, logits / 0.8, -torch.inf).softmax(-1)
        expected = cut.gather(1, other[:, None]).squeeze(1)
    if name in ("margin", "entropy"):
        expected = proposal.confidence
    torch.testing.assert_close(forced.confidence, expected)
