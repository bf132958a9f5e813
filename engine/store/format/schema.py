"""What a shard holds: every variable's name, dimensions, type, unit and meaning. `docs/format.md`
is printed from here.

One table; the recorder fills it, the shard writer stores it, `open_run` and `verify` read by it.
Knows nothing of HDF5 or of how a value comes about. Missing values are NaN in floats and -1 in
integers; `_FillValue` is never set, because it makes readers turn integers into floats.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from .verdicts import VERDICTS

SCHEMA_VERSION = "1.1"

Dtype = Literal["int32", "int8", "uint8", "float32", "str", "model", "logits"]
"""`model` is the dtype the model ran in, `logits` the one its logits were taken in: float32, or
bfloat16 handed over as its uint16 bits."""


class Variable(NamedTuple):
    """One row of the schema. `dims` without the leading `problem` (except where `per_shard`).

    `since`: the schema version from which on it is stored; a run that two versions made may lack it
    in older shards.
    """

    dims: tuple[str, ...]
    dtype: Dtype
    units: str
    long_name: str
    optional: bool = False
    since: str = "1.0"
    per_shard: bool = False
    flags: tuple[str, ...] = ()


def missing(dtype: object) -> float:
    """What stands where there is no number of `dtype`, a numpy or torch dtype or its name.

    NaN in floats, -1 in signed integers, 0 in unsigned ones and booleans; text has "" instead.
    Raises TypeError for what holds no numbers.
    """
    name = str(dtype).removeprefix("torch.")
    if name.startswith(("float", "bfloat")):
        return math.nan
    if name.startswith("int"):
        return -1
    if name.startswith(("uint", "bool")):
        return 0
    raise TypeError(f"{dtype} is no type of numbers, so no number can stand for a missing one")


_AT = ("step", "position")

VARIABLES: dict[str, Variable] = {
    # one value for each problem
    "problem_id": Variable((), "str", "", "stable problem id"),
    "index": Variable((), "int32", "1", "place of the problem in problems.jsonl, from 0"),
    "generated_text": Variable((), "str", "", "decoded generation, special tokens removed"),
    "extracted_answer": Variable(
        (), "str", "", "answer found in the generated text, empty if none"
    ),
    "grade_rule": Variable((), "str", "", "rule by which the answer was extracted and compared"),
    "verdict": Variable((), "uint8", "1", "graded answer", flags=tuple(VERDICTS)),
    "answer_start": Variable(
        (), "int32", "position", "first position of the extracted answer, -1 if none"
    ),
    "answer_end": Variable(
        (), "int32", "position", "position after the extracted answer, -1 if none"
    ),
    "prompt_length": Variable((), "int32", "tokens", "prompt tokens, template included"),
    "n_forwards": Variable((), "int32", "1", "forward passes this problem took part in"),
    "seconds": Variable(
        (),
        "float32",
        "s",
        "wall time between entering and leaving the canvas (shared with batch mates)",
    ),
    "answer_token_id": Variable(
        ("answer_token",), "int32", "id", "tokens of the gold answer, padded with -1"
    ),
    # one value for each generated position
    "null_answer_logprob": Variable(
        ("position", "answer_token"),
        "float32",
        "nats",
        "log-probability of each gold answer token with the question left out and all positions "
        "masked",
        optional=True,
        since="1.1",
    ),
    # one value for each step
    "performed": Variable(
        ("step",),
        "uint8",
        "1",
        "1 where a forward pass ran; a step that commits nothing is skipped and its floats are NaN",
    ),
    "n_masked": Variable(
        ("step",),
        "int32",
        "positions",
        "masked generated positions that the forward pass of this step saw",
    ),
    "cka_masked": Variable(
        ("step",),
        "float32",
        "1",
        "debiased CKA to the step before, over positions masked at both steps",
    ),
    "cka_committed": Variable(
        ("step",),
        "float32",
        "1",
        "debiased CKA to the step before, over positions committed at both steps",
    ),
    "cka": Variable(
        ("step", "other_step"),
        "float32",
        "1",
        "debiased linear CKA of the logits of two steps over all generated positions",
    ),
    "state_masked": Variable(
        ("step", "feature"), "model", "1", "final hidden state, mean over masked positions"
    ),
    "state_answer": Variable(
        ("step", "feature"),
        "model",
        "1",
        "final hidden state, mean over the extracted answer's positions",
    ),
    # one value for each step and generated position
    "token": Variable(
        _AT,
        "int32",
        "id",
        "canvas after the step's commits; the mask token's id where still masked",
    ),
    "prediction": Variable(
        _AT,
        "int32",
        "id",
        "most probable token, mask token and padding rows excluded, ties to the lowest id",
    ),
    "committed": Variable(_AT, "uint8", "1", "1 where this step committed the position"),
    "logprob": Variable(_AT, "float32", "nats", "log-probability of `prediction`"),
    "margin": Variable(_AT, "float32", "nats", "largest logit minus second largest"),
    "logsumexp": Variable(_AT, "float32", "nats", "logsumexp of the logits"),
    "entropy": Variable(_AT, "float32", "bits", "entropy of the token distribution"),
    "kl": Variable(_AT, "float32", "bits", "KL(p_t || p_t-1), NaN at the first step"),
    "logit_mean": Variable(_AT, "float32", "nats", "mean of the logits over the vocabulary"),
    "logit_std": Variable(
        _AT, "float32", "nats", "standard deviation of the logits over the vocabulary"
    ),
    "answer_logprob": Variable(
        (*_AT, "answer_token"),
        "float32",
        "nats",
        "log-probability of each gold answer token at each position",
    ),
    "topk_id": Variable(
        (*_AT, "k"), "int32", "id", "tokens of the k largest logits, descending", optional=True
    ),
    "topk_logit": Variable(
        (*_AT, "k"), "logits", "nats", "the k largest logits, descending", optional=True
    ),
    "hidden": Variable(
        (*_AT, "feature"),
        "model",
        "1",
        "final hidden state (after the last norm): logits = hidden @ head.T",
        optional=True,
    ),
    "logits": Variable((*_AT, "vocabulary"), "model", "nats", "full logits", optional=True),
    # one for the shard
    "hidden_sum": Variable(
        (*_AT, "feature"),
        "float32",
        "1",
        "sum of `hidden` over the shard's problems",
        optional=True,
        per_shard=True,
    ),
    "block": Variable(
        ("step",), "int32", "1", "block that the step works on, from 0", per_shard=True
    ),
}
