"""What a run records: one row for each variable. `docs/format.md` is printed from here.

The recorder fills the rows, the shard writer stores them, `open_run` and `verify` read by them, the
estimates of disk and memory add them up. `_FillValue` is never set, because it makes readers turn
integers into floats.
"""

from __future__ import annotations

import math

from .of_cells import CELL, OF_CELLS
from .stored_if import is_of_blocks, keeps_answers_alone, keeps_sums
from .variable import Bounds, Settings, Variable
from .verdicts import VERDICTS

__all__ = [
    "CELL",
    "SCHEMA_VERSION",
    "VARIABLES",
    "missing",
    "stored_variables",
    "variables_in_flight",
]

SCHEMA_VERSION = "1.3"

_ROWS = (
    # one value for each problem
    Variable("problem_id", (), "str", "", "stable problem id"),
    Variable("index", (), "int32", "1", "place of the problem in problems.jsonl, from 0"),
    Variable("generated_text", (), "str", "", "decoded generation, special tokens removed"),
    Variable(
        "extracted_answer", (), "str", "", "answer found in the generated text, empty if none"
    ),
    Variable("grade_rule", (), "str", "", "rule by which the answer was extracted and compared"),
    Variable("verdict", (), "uint8", "1", "graded answer", flags=tuple(VERDICTS)),
    Variable(
        "answer_start",
        (),
        "int32",
        "position",
        "first position of the extracted answer, -1 if none",
    ),
    Variable(
        "answer_end", (), "int32", "position", "position after the extracted answer, -1 if none"
    ),
    Variable("prompt_length", (), "int32", "tokens", "prompt tokens, template included"),
    Variable("n_forwards", (), "int32", "1", "forward passes this problem took part in"),
    Variable(
        "seconds",
        (),
        "float32",
        "s",
        "wall time between entering and leaving the canvas (shared with batch mates)",
    ),
    Variable(
        "answer_token_id",
        ("answer_token",),
        "int32",
        "id",
        "tokens of the gold answer, padded with -1",
    ),
    Variable(
        "group_id",
        (),
        "str",
        "",
        "id of the problem in the input, which its samples and branches share",
        since="1.2",
    ),
    Variable("sample", (), "int32", "1", "which sample of the problem it is, from 0", since="1.2"),
    Variable(
        "parent_id",
        (),
        "str",
        "",
        "problem_id in the parent run of what a branch leaves, empty if it is none",
        since="1.2",
    ),
    Variable(
        "branch_step", (), "int32", "1", "first step that was decoded, 0 if no branch", since="1.2"
    ),
    Variable(
        "intervention",
        (),
        "int32",
        "1",
        "what was done at branch_step, by its place in run.json; 0: nothing",
        since="1.2",
    ),
    Variable(
        "branch",
        (),
        "int32",
        "1",
        "which branch of one state and intervention it is, from 0",
        since="1.2",
    ),
    # one value for each generated position
    Variable(
        "start_token",
        ("position",),
        "int32",
        "id",
        "canvas that branch_step sees; the mask token's id where masked",
        since="1.2",
        stored_share=0.03,
    ),
    Variable(
        "final_token",
        ("position",),
        "int32",
        "id",
        "canvas after the last step, in a run that keeps answers alone",
        stored_if=keeps_answers_alone,
        since="1.2",
        stored_share=0.3,
    ),
    Variable(
        "null_answer_logprob",
        ("position", "answer_token"),
        "float32",
        "nats",
        "log-probability of each gold answer token with the question left out and all positions "
        "masked",
        since="1.1",
        bounds=Bounds(highest=0),
    ),
    # one value for each step
    Variable(
        "performed",
        ("step",),
        "uint8",
        "1",
        "1 where a forward pass ran; a step that commits nothing is skipped and its floats are NaN",
    ),
    Variable(
        "n_masked",
        ("step",),
        "int32",
        "positions",
        "masked generated positions that the forward pass of this step saw",
        stored_share=0.33,
    ),
    Variable(
        "open_start",
        ("step",),
        "int32",
        "position",
        "first generated position of the block that was open at this step, -1 without a pass",
        stored_if=is_of_blocks,
        since="1.3",
        stored_share=0.05,
    ),
    Variable(
        "open_end",
        ("step",),
        "int32",
        "position",
        "position after the last that was open at this step, -1 without a pass",
        stored_if=is_of_blocks,
        since="1.3",
        stored_share=0.05,
    ),
    Variable(
        "cka_masked",
        ("step",),
        "float32",
        "1",
        "debiased CKA to the step before, over positions masked at both steps",
    ),
    Variable(
        "cka_committed",
        ("step",),
        "float32",
        "1",
        "debiased CKA to the step before, over positions committed at both steps",
    ),
    Variable(
        "cka",
        ("step", "other_step"),
        "float32",
        "1",
        "debiased linear CKA of the logits of two steps over all generated positions",
    ),
    Variable(
        "state_masked",
        ("step", "feature"),
        "model",
        "1",
        "final hidden state, mean over masked positions",
    ),
    Variable(
        "state_answer",
        ("step", "feature"),
        "model",
        "1",
        "final hidden state, mean over the extracted answer's positions",
    ),
    *OF_CELLS,
    # one for the shard
    Variable(
        "hidden_sum",
        (*CELL, "feature"),
        "float32",
        "1",
        "sum of `hidden` over the shard's problems",
        made="shard",
        stored_if=keeps_sums,
        stored_share=1.0,
        is_noise=True,
    ),
    Variable(
        "block",
        ("step",),
        "int32",
        "1",
        "block that the step works on, from 0; -1 where it differs from problem to problem",
        made="shard",
    ),
)

VARIABLES: dict[str, Variable] = {row.name: row for row in _ROWS}


def stored_variables(settings: Settings) -> list[Variable]:
    """What a run with these settings keeps."""
    return [row for row in VARIABLES.values() if row.is_stored(settings)]


def variables_in_flight(settings: Settings) -> list[Variable]:
    """What the device holds of each problem on the canvas."""
    return [row for row in VARIABLES.values() if row.is_in_flight(settings)]


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
