"""What the estimators are given of a run: features of each problem and step, none of which knows
the gold answer.

A problem that has ended keeps its `belief` and `state`, which stand by then; it has no `summary`,
which is of a forward pass.

Before the answer's block opens, in a run that is decoded block by block, there is neither; `state`
is then of those of the answer's positions that are open.

`belief`: how sure the model is at its own answer slot (where the extracted answer stands), frozen
at each commit; `slot` is its first column. `summary`: mean, standard deviation and maximum of the
logits over all positions and tokens, and the mean entropy. `state`: the final hidden state, mean
over the answer slot, frozen when the slot's last position commits. The slot is found from the end,
so its place is known at every step. Letters as in `block.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..metrics.block import Block, also, end_step, frozen, kept_after_end, mean_where, read_block

if TYPE_CHECKING:
    from ...engine.store import Run

STATE_BYTES = 256 * 2**20
"""Hidden states that are held in memory at a time."""

BLOCK_PROBLEMS = 64

_COMMON = ("performed", "committed", "answer_start", "answer_end")
_NARROW = ("logprob", "entropy", "margin", "logsumexp", "logit_mean", "logit_std", *_COMMON)


class Features(NamedTuple):
    """`every_position`: they need a run that recorded all positions. `wide`: as many as the model
    has hidden features, read a few steps at a time. `kept`: a problem that has ended keeps them."""

    every_position: bool = False
    wide: bool = False
    kept: bool = True


FEATURES = {
    "belief": Features(),
    "slot": Features(),
    "summary": Features(every_position=True, kept=False),
    "state": Features(wide=True),
}


class RunFeatures:
    """The features of `run`, for all that estimate something from them: each is read once.

    The narrow ones are read in one pass and kept; the hidden states are read a few steps at a time,
    and those of the first step are kept.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._state_at_start: np.ndarray | None = None

    @cached_property
    def ends(self) -> np.ndarray:
        """[problem] the last step with a forward pass."""
        if not len(self.run.ids):
            return np.zeros(0, np.int64)
        return end_step(np.asarray(self.run["performed"][...]) == 1)

    @property
    def ends_differ(self) -> bool:
        """Whether some problem ended before others."""
        return bool((self.ends != self.ends[:1]).any())

    @cached_property
    def narrow(self) -> dict[str, np.ndarray]:
        """[problem, step, feature] of those that are not wide, by name."""
        features = narrow_features(self.run)
        for values in features.values():
            values[:, self._reached :] = np.nan
        features["slot"] = features["belief"][:, :, :1]
        return features

    def of_steps(self, names: Sequence[str], steps: int) -> Iterator[tuple[str, int, np.ndarray]]:
        """(name, step, [problem, feature]) of each of `names` and of `steps` up to the last that
        any problem performed, NaN where a problem has none. Hidden states come as float32."""
        steps = min(steps, self._reached)
        for name in names:
            if not FEATURES[name].wide:
                for step in range(steps):
                    yield name, step, self.narrow[name][:, step]
        if "state" in names:
            for step, values in states(self.run, np.arange(steps)):
                if step == 0:
                    self._state_at_start = values.copy()
                yield "state", step, values

    @property
    def _reached(self) -> int:
        """How many steps there are up to the end of the last problem."""
        return int(self.ends.max(initial=-1)) + 1

    def state_at(self, step: int) -> np.ndarray:
        """[problem, feature] float32 hidden state of one step; read only where it was not kept."""
        if step == 0 and self._state_at_start is not None:
            return self._state_at_start
        _, values = next(states(self.run, np.array([step])))
        return values


def narrow_features(run: Run) -> dict[str, np.ndarray]:
    """`belief` [problem, step, 3] and `summary` [problem, step, 4], float64, NaN where undefined or
    not performed."""
    whole: dict[str, np.ndarray] = {}
    for part in run.blocks([*_NARROW, *also(run)], max_problems=BLOCK_PROBLEMS):
        block = read_block(part)
        of_part = {"belief": belief(block), "summary": summary(block)}
        for name, values in of_part.items():
            if name not in whole:
                shape = (len(run.ids), *values.shape[1:])
                whole[name] = np.full(shape, np.nan)
            whole[name][part["row"]] = values
    return whole


def states(run: Run, steps: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(step, [problem, feature] float32) for each of `steps`, read in as few passes as memory
    allows."""
    problems = len(run.ids)
    width = int(run["state_answer"].shape[2])
    bytes_of_step = 4 * problems * width
    at_a_time = max(1, STATE_BYTES // bytes_of_step)
    names = ["state_answer", *_COMMON, *also(run)]
    for start in range(0, len(steps), at_a_time):
        chosen = steps[start : start + at_a_time]
        shape = (len(chosen), problems, width)
        held = np.full(shape, np.nan, np.float32)
        for part in run.blocks(names, max_problems=BLOCK_PROBLEMS):
            values = state(read_block(part), chosen)
            held[:, part["row"]] = values.transpose(1, 0, 2)
        for step, values in zip(chosen, held, strict=True):
            yield int(step), values


def belief(block: Block) -> np.ndarray:
    """[N, T, 3] over the slot: sum of the best tokens' log-probability, mean entropy, least margin;
    kept after the problem's end."""
    position, inside = _slot(block)
    rows = np.arange(len(position))[:, None, None]
    steps = np.arange(block.performed.shape[1])[None, :, None]
    commit = np.take_along_axis(block.freeze_step, position, axis=1)

    def at_slot(name: str) -> np.ndarray:
        values = _wide(block.variables[name])
        of_slot = values[rows, steps, position[:, None, :]]
        return frozen(of_slot, commit)

    used = inside[:, None, :]
    logprobs = np.where(used, at_slot("logprob"), 0.0)
    margins = np.where(used, at_slot("margin"), np.inf)
    reduced = [
        logprobs.sum(axis=2),
        mean_where(at_slot("entropy"), used),
        margins.min(axis=2, initial=np.inf),
    ]

    has_slot = inside.any(axis=1, keepdims=True)
    columns = []
    for values in reduced:
        defined = np.where(has_slot, values, np.nan)
        at_steps = block.at_performed(defined)
        columns.append(kept_after_end(at_steps, block.performed))
    return np.stack(columns, axis=2)


def summary(block: Block) -> np.ndarray:
    """[N, T, 4] exact over positions and tokens: the variance over all is the mean of within and
    between positions. Of a run that is decoded block by block over the open block's."""
    mean = _wide(block.variables["logit_mean"])
    std = _wide(block.variables["logit_std"])
    logprob = _wide(block.variables["logprob"])
    entropy = _wide(block.variables["entropy"])
    largest_logits = logprob + block.variables["logsumexp"]
    if block.opened is not None:
        reduced = _summary_of_read(block, mean, std, largest_logits, entropy)
    else:
        variance = (std**2).mean(axis=2) + mean.var(axis=2)
        reduced = [
            mean.mean(axis=2),
            np.sqrt(variance),
            largest_logits.max(axis=2),
            entropy.mean(axis=2),
        ]
    columns = [block.at_performed(values) for values in reduced]
    return np.stack(columns, axis=2)


def _summary_of_read(
    block: Block,
    mean: np.ndarray,
    std: np.ndarray,
    largest_logits: np.ndarray,
    entropy: np.ndarray,
) -> list[np.ndarray]:
    """The four columns [N, T] over the positions that each pass read of its open block."""
    centre = block.mean_read(mean)
    variance = block.mean_read(std**2) + block.mean_read((mean - centre[:, :, None]) ** 2)
    known = np.where(np.isnan(largest_logits), -np.inf, largest_logits)
    return [centre, np.sqrt(variance), known.max(axis=2, initial=-np.inf), block.mean_read(entropy)]


def state(block: Block, steps: np.ndarray) -> np.ndarray:
    """[N, chosen steps, feature] float32, kept after the problem's end; NaN for a problem without
    an answer slot and at steps not performed before that."""
    position, inside = _slot(block)
    commit = np.take_along_axis(block.freeze_step, position, axis=1)
    last_commit = np.where(inside, commit, -1).max(axis=1, initial=-1)
    last_source = np.maximum(last_commit, 0)
    last_source = np.minimum(last_source, np.maximum(block.end_step, 0))
    source = np.minimum(steps[None, :], last_source[:, None])

    recorded = np.asarray(block.variables["state_answer"], np.float32)
    rows = np.arange(len(source))[:, None]
    values = recorded[rows, source]

    has_slot = inside.any(axis=1, keepdims=True)
    has_ended = steps[None, :] > block.end_step[:, None]
    is_defined = has_slot & (block.performed[:, steps] | has_ended)
    return np.where(is_defined[:, :, None], values, np.float32("nan"))


def _slot(block: Block) -> tuple[np.ndarray, np.ndarray]:
    """([N, S] positions of the extracted answer, [N, S] whether there is one), S the longest
    answer."""
    start = np.asarray(block.variables["answer_start"])[:, None]
    end = np.asarray(block.variables["answer_end"])[:, None]
    length = np.where(start >= 0, end - start, 0)
    longest = max(1, int(length.max(initial=1)))
    offset = np.arange(longest)
    inside = offset < length
    position = np.where(inside, start + offset, 0)
    return position, inside


def _wide(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)
