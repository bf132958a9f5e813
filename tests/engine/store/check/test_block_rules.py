"""Every rule about runs that are decoded block by block holds for a true one, and notices the single
value that breaks it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.store import verify_run
from diffengine.engine.store.check.conditions import Conditions
from diffengine.engine.store.check.rules import value_faults
from diffengine.engine.store.format.schema import CELL, VARIABLES, missing

_spec = importlib.util.spec_from_file_location(
    "block_columns", Path(__file__).parents[3] / "block_columns.py"
)
assert _spec is not None and _spec.loader is not None
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)

Arrays = dict[str, np.ndarray]
CONDITIONS = Conditions(
    made.MASK, False, False, False, False, may_leave_masks=True, block_length=made.LENGTH
)
BORDERS = made.BORDER._replace(
    steps=[
        made.Step(0, 2, {0: 50, 1: 51}),
        made.Step(2, 6, {2: 52, 3: 53, 4: 54, 5: made.EOS}),
    ]
)
SCRIPTS = (made.TWO_BLOCKS, made.STOPPED, made.REVISED, BORDERS)
STOPPED, REVISED = 1, 2
OF_CELLS = sorted(
    name
    for name, row in VARIABLES.items()
    if row.dims[:2] == CELL and row.made == "step" and name not in ("token", "hidden")
)


def arrays_of() -> Arrays:
    columns = made.stacked(SCRIPTS)
    return {
        name: values
        for name, values in columns.items()
        if isinstance(values, np.ndarray) and not VARIABLES[name].is_vector
    }


def test_true_trajectories_pass() -> None:
    assert value_faults(arrays_of(), CONDITIONS) == []


def test_only_masks_need_values_where_masks_alone_are_recorded() -> None:
    arrays = arrays_of()
    held = arrays["token"] != made.MASK
    held[:, 1:] = held[:, :-1]
    held[:, 0] = False
    for name in ("logprob", "logsumexp", "entropy", "kl"):
        arrays[name][held] = np.nan
    assert any("missing" in fault for fault in value_faults(arrays, CONDITIONS))
    assert value_faults(arrays, CONDITIONS._replace(masked_only=True)) == []


def test_a_shifted_model_reads_a_blocks_first_position_once() -> None:
    arrays = arrays_of()
    for row, script in enumerate(SCRIPTS):
        for step in range(1, len(script.steps)):
            start = script.steps[step].start
            if start == script.steps[step - 1].start:
                for name in ("logprob", "logsumexp", "entropy"):
                    arrays[name][row, step, start] = np.nan
    assert value_faults(arrays, CONDITIONS) != []
    assert value_faults(arrays, CONDITIONS._replace(is_shifted=True)) == []
    arrays["entropy"][0, 2, 2] = np.nan  # the first pass of the second block
    assert value_faults(arrays, CONDITIONS._replace(is_shifted=True)) != []


def put(name: str, place: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def skip_the_second_block(arrays: Arrays) -> None:
    arrays["open_start"][0, 2:5], arrays["open_end"][0, 2:5] = 4, 6


def shorten(arrays: Arrays) -> None:
    arrays["open_start"][REVISED, :3], arrays["open_end"][REVISED, :3] = 1, 4


def go_on_after_the_end(arrays: Arrays) -> None:
    arrays["performed"][STOPPED, 4] = 1
    arrays["open_start"][STOPPED, 4], arrays["open_end"][STOPPED, 4] = 2, 6


def revise_silently(arrays: Arrays) -> None:
    arrays["revised"][REVISED, 1, 1] = 0


def revise_without_a_pass(arrays: Arrays) -> None:
    arrays["token"][STOPPED, 4:, 0] = 77
    arrays["revised"][STOPPED, 4, 0] = 1


def change_outside(arrays: Arrays) -> None:
    """A token of the full first block changes while the second is open, and a flag agrees."""
    arrays["token"][REVISED, 3:, 0] = 77
    arrays["revised"][REVISED, 3, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("n_masked", (0, 2), 6), "n_masked disagrees"),
        (put("n_masked", (0, 1), 5), "n_masked disagrees"),
        (put("entropy", (0, 2, 3), np.nan), "entropy is missing where a forward ran"),
        (put("logprob", (0, 0, 0), np.nan), "logprob is missing where a forward ran"),
        (put("open_start", (0, 0), -1), "no positions of the canvas"),
        (put("open_end", (0, 3), 7), "no positions of the canvas"),
        (put("open_start", (0, 6), 2), "in a step without a forward pass"),
        (put("open_start", (0, 2), 1), "more than 4 open positions"),
        (put("open_start", (0, 3), 3), "neither that of the step before nor the next"),
        (skip_the_second_block, "neither that of the step before nor the next"),
        (shorten, "the first block does not begin at position 0"),
        (go_on_after_the_end, "a forward pass ran behind the problem's end"),
        (put("kl", (0, 2, 3), 0.5), "kl has a value at the first step of a block"),
        (put("cka_masked", (0, 2), 0.5), "cka_masked has a value at the first step of a block"),
        (put("cka_committed", (0, 0), 0.5), "cka_committed has a value at the first step"),
        (put("cka", (0, 1, 2), 0.5), "cka has a value between steps of two blocks"),
        (put("token", (0, 6, 5), 16), "token changes after it was committed"),
        (put("token", (STOPPED, 1, 4), 16), "token changes where no block is open"),
        (put("committed", (REVISED, 2, 0), 1), "committed disagrees"),
        (put("revised", (0, 3, 4), 1), "revised disagrees"),
        (put("revised", (0, 3, 4), 2), "revised is neither 0 nor 1"),
        (revise_silently, "revised disagrees"),
        (revise_without_a_pass, "committed in a step without a forward pass"),
        (change_outside, "token changes where no block is open"),
        (change_outside, "revised has a value where no block is open"),
    ],
)
def test_one_wrong_value_is_noticed(change: Callable[[Arrays], None], message: str) -> None:
    arrays = arrays_of()
    change(arrays)
    assert any(message in fault for fault in value_faults(arrays, CONDITIONS))


@pytest.mark.parametrize("name", OF_CELLS)
def test_a_value_where_no_block_is_open_is_noticed(name: str) -> None:
    arrays = arrays_of()
    nothing = missing(arrays[name].dtype)
    arrays[name][0, 0, 4] = 1 if nothing == 0 else 0
    message = f"{name} has a value where no block is open at 1 place, first at [0, 0, 4]"
    assert message in value_faults(arrays, CONDITIONS)


def test_a_short_block_in_the_middle_is_noticed() -> None:
    short = made.TWO_BLOCKS._replace(
        steps=[
            made.Step(0, 1, {0: 10}),
            made.Step(1, 3, {1: 11, 2: 12}),
            made.Step(3, 6, {3: 13, 4: 14, 5: 15}),
        ]
    )
    arrays = {
        name: values
        for name, values in made.stacked([short]).items()
        if isinstance(values, np.ndarray) and not VARIABLES[name].is_vector
    }
    faults = value_faults(arrays, CONDITIONS)
    assert faults == ["fewer than 4 open positions at 1 place, first at [0, 1]"]
    assert value_faults(arrays, CONDITIONS._replace(block_length=None)) == []


def test_a_stored_run_is_whole_and_a_damaged_one_mended(tmp_path: Path) -> None:
    assert verify_run(made.write_run(tmp_path / "whole", SCRIPTS)).ok
    columns: dict[str, Any] = made.stacked(SCRIPTS)
    kl = columns["kl"].copy()
    kl[0, 2, 3] = 0.5
    path = made.write_run(tmp_path / "damaged", SCRIPTS, kl=kl)
    found = verify_run(path)
    assert [finding.severity for finding in found.findings if "kl" in finding.what] == ["error"]
    verify_run(path, repair=True)
    after = verify_run(path)
    assert after.ok
    assert after.missing == [f"p{number}" for number in range(len(SCRIPTS))]
