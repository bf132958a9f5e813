"""Runs to compare, made by hand: final tokens and commit steps of each problem, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diffengine.analysis.compare.generations import NEVER, Generations

EOS = 9


def generations(
    name: str,
    tokens: Sequence[Sequence[int]],
    steps: Sequence[Sequence[int]],
    *,
    verdict: Sequence[int] | None = None,
    answer: Sequence[str] | None = None,
    n_forwards: Sequence[int] | None = None,
    keys: Sequence[str] | None = None,
    eos: int | None = EOS,
    unfinished: str = "",
    fingerprint: str = "m",
    **config: Any,
) -> Generations:
    """A run whose problem i ends with `tokens[i]`, position p committed at `steps[i][p]`; texts are
    the tokens written out. Forward passes are the steps up to the last commit unless given."""
    token = np.array(tokens, np.int32)
    commit_step = np.array(steps, np.int32)
    n = len(token)
    forwards = [int(row.max()) + 1 for row in commit_step] if n_forwards is None else n_forwards
    names = [f"p{i}" for i in range(n)] if keys is None else list(keys)
    right = [1] * n if verdict is None else verdict
    texts = [" ".join(map(str, row)) for row in tokens]
    return Generations(
        name=name,
        info={
            "config": {"policy": "llada", "gen_length": token.shape[1], **config},
            "model": {"fingerprint": fingerprint, "eos_token_id": eos},
        },
        keys=[(key, "content") for key in names],
        verdict=np.array(right, np.uint8),
        n_forwards=np.array(forwards, np.int32),
        token=token,
        commit_step=commit_step,
        text=texts,
        answer=[str(row[0]) for row in tokens] if answer is None else list(answer),
        unfinished=unfinished,
    )


def one_a_step(tokens: Sequence[Sequence[int]], name: str = "exact", **more: Any) -> Generations:
    """Positions from left to right, one a step."""
    steps = [list(range(len(row))) for row in tokens]
    return generations(name, tokens, steps, **more)


__all__ = ["EOS", "NEVER", "generations", "one_a_step"]
