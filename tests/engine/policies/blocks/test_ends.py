"""With which block a problem ends: the one that holds the end of the sequence or of the turn, among
its generated tokens, once it is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.policy import Update
from diffengine.engine.models.family import TokenIds
from diffengine.engine.policies import make_policy

from .block_steps import EOS as END
from .block_steps import MASK as BLOCK_MASK
from .block_steps import Open, canvas_of, decide, policy_of

MASK, EOS, EOT, WORD, NEW = 9, 1, 2, 5, 6


def stopped(
    before: list[int],
    commits: dict[int, int],
    *,
    eot: int | None = EOT,
    generated_from: int = 0,
    revised: bool = False,
    closed: bool | None = None,
    **options: Any,
) -> bool | None:
    """Of one row with these tokens in its open block, which get `commits`."""
    config = RunConfig.of(model="test", policy="sdar", gen_length=8, block_length=4, **options)
    policy: Any = make_policy("sdar", config.sampler, TokenIds(MASK, EOS, eot), n_candidates=10)
    token = torch.tensor([[commits.get(place, NEW) for place in range(4)]])
    at = torch.tensor([[place in commits for place in range(4)]])
    canvas: Any = SimpleNamespace(
        generated=torch.tensor([before]),
        written=torch.arange(4)[None] >= generated_from,
        mask_id=MASK,
    )
    update = Update(token, torch.zeros_like(at) if revised else at)
    if revised:
        update = update._replace(revised=at)
    if closed is not None:
        update = update._replace(closed=torch.tensor([closed]))
    result = policy._stopped(canvas, update)
    return None if result is None else bool(result.item())


@pytest.mark.parametrize("end", [EOS, EOT])
def test_a_problem_ends_with_the_block_that_holds_an_end(end: int) -> None:
    assert stopped([WORD, WORD, WORD, MASK], {3: end})
    assert stopped([end, WORD, WORD, MASK], {3: WORD})
    assert not stopped([end, WORD, MASK, MASK], {3: WORD})
    assert not stopped([WORD, WORD, WORD, MASK], {3: WORD})


@pytest.mark.parametrize("end", [EOS, EOT])
def test_an_end_in_the_prompts_tail_ends_nothing(end: int) -> None:
    assert not stopped([end, WORD, WORD, MASK], {3: WORD}, generated_from=1)
    assert stopped([end, WORD, WORD, MASK], {3: end}, generated_from=1)


@pytest.mark.parametrize("end", [EOS, EOT])
def test_what_a_revision_writes_or_removes_counts(end: int) -> None:
    assert stopped([WORD] * 4, {1: end}, revised=True)
    assert not stopped([end, WORD, WORD, WORD], {0: WORD}, revised=True)
    assert not stopped([WORD] * 4, {1: end}, revised=True, closed=False)


def test_what_is_proposed_where_a_token_stands_is_no_end() -> None:
    """A schedule that asks for more masks than are left picks such places too."""
    canvas = canvas_of([Open([WORD, WORD, WORD, BLOCK_MASK], steps=1)])
    policy = policy_of(
        "sdar",
        block_length=4,
        denoising_steps=2,
        remasking_strategy="low_confidence_static",
    )
    token = torch.tensor([[END, END, END, WORD]])
    sure = torch.full((1, 4), 0.5)
    update = decide(policy, canvas, token, sure, torch.zeros(1, 4))
    assert update.commit.tolist() == [[False, False, False, True]]
    assert update.stopped is not None and update.stopped.tolist() == [False]


def test_without_an_end_of_turn_or_where_it_is_not_asked_for() -> None:
    assert not stopped([WORD, WORD, WORD, MASK], {3: EOT}, eot=None)
    assert stopped([WORD, WORD, WORD, MASK], {3: EOS}, eot=None)
    assert stopped([WORD, WORD, WORD, MASK], {3: EOS}, eos_early_stop=False) is None
