"""docs/format.md says what the schema says, and its examples run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from diffengine.engine.store.format.columns import dims_of
from diffengine.engine.store.format.image import COORDINATES
from diffengine.engine.store.format.schema import SCHEMA_VERSION, VARIABLES, missing
from diffengine.engine.store.format.variable import BASE_VERSION

FORMAT = (Path(__file__).parents[4] / "docs" / "format.md").read_text("utf-8")

OF_1_0 = """
    problem_id index generated_text extracted_answer grade_rule verdict answer_start answer_end
    prompt_length n_forwards seconds answer_token_id performed n_masked cka_masked cka_committed
    cka state_masked state_answer token prediction committed logprob margin logsumexp entropy kl
    logit_mean logit_std answer_logprob topk_id topk_logit hidden logits hidden_sum block
"""
"""What the first schema had; it never changes, for runs of that version lie on disks."""


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_what_came_later_says_so_for_runs_of_before_lack_it() -> None:
    of_first = [name for name, row in VARIABLES.items() if row.since == BASE_VERSION]
    assert set(of_first) == set(OF_1_0.split()), "give a new variable since=, a version of its own"
    assert all(version(row.since) <= version(SCHEMA_VERSION) for row in VARIABLES.values())


def table_row(name: str) -> str:
    row = VARIABLES[name]
    flags = (
        ": " + ", ".join(f"{number} {flag}" for number, flag in enumerate(row.flags))
        if row.flags
        else ""
    )
    marks = ["optional"] if row.stored_if else []
    marks += [f"since {row.since}"] if row.since != BASE_VERSION else []
    optional = f" ({', '.join(marks)})" if marks else ""
    return (
        f"| `{name}`{optional} | {', '.join(dims_of(name))} | {row.dtype} | {row.units} | "
        f"{row.long_name}{flags} |"
    )


def test_the_table_is_the_schema() -> None:
    shards = re.split(r"^## ", FORMAT, flags=re.MULTILINE)[1:]
    (section,) = [part for part in shards if part.startswith("Shards\n")]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [table_row(name) for name in VARIABLES]


def test_the_page_names_this_version_and_every_dimension() -> None:
    assert f"`schema_version` {SCHEMA_VERSION.split('.')[0]}.x" in FORMAT
    assert {dim for name in VARIABLES for dim in dims_of(name)} == set(COORDINATES)
    assert all(f"`{dim}`" in FORMAT for dim in COORDINATES)


def test_the_examples_run(stored: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "runs").mkdir(exist_ok=True)
    os.symlink(stored, tmp_path / "runs" / "x")
    shard = sorted((stored / "shards").glob("0-*.h5"))[0].name
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", FORMAT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block.replace("0-000000-1a2b3c4d.h5", shard), "format.md", "exec"), {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, np.dtype("float32"), "float32"])
def test_a_missing_float_is_nan(dtype: object) -> None:
    assert np.isnan(missing(dtype))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.int32, -1),
        (torch.int64, -1),
        (np.dtype("int32"), -1),
        (torch.uint8, 0),
        (np.dtype("uint16"), 0),
        (torch.bool, 0),
    ],
)
def test_what_stands_where_there_is_no_value(dtype: object, expected: object) -> None:
    value = missing(dtype)
    assert isinstance(value, int)
    assert value == expected


@pytest.mark.parametrize("dtype", [np.dtype(object), "str", "model"])
def test_no_number_stands_for_missing_text(dtype: object) -> None:
    with pytest.raises(TypeError, match="no type of numbers"):
        missing(dtype)
