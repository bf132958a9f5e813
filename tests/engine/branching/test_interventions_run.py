"""Interventions from the command to their effects, on a model of random weights: what is stored,
what it says, and what is recounted from the tokens by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.branching.effect_table import effect_table
from diffengine.analysis.branching.effects import effects_of
from diffengine.analysis.branching.sensitivity import sensitivity_maps
from diffengine.analysis.errors import SettingError
from diffengine.analysis.show.sensitivity import draw_sensitivity
from diffengine.analysis.show.summary import summarise
from diffengine.engine.branching.branch import branch
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.store import Run, open_run, verify_run

G = 8
SETTINGS: dict[str, Any] = {"gen_length": G, "steps": G, "block_length": 4, "topk": 4}
DO = (
    "remask committed",
    "remask random 2",
    "remask least 2",
    "set 2 7",
    "forbid 4:8 7",
    "force 5 7",
    "patch 0:8 layer 0 from step 8",
)


@pytest.fixture
def parent(parent_of: Callable[..., Run]) -> Path:
    """A run of three problems."""
    return parent_of(**SETTINGS).path


@pytest.mark.parametrize(("samples", "record"), [(1, "answers"), (3, "answers"), (2, "all")])
def test_effects_are_those_of_the_stored_tokens(
    parent: Path, random_model: MaskedDiffusionModel, samples: int, record: str
) -> None:
    result = branch(parent, at=[3, 5], do=DO, samples=samples, record=record, model=random_model)
    assert verify_run(result.path).ok
    with open_run(parent) as own, open_run(result.path) as branches:
        effects = effects_of(own, branches)
        final = branches["final_token"][...] if record == "answers" else branches["token"][:, -1]
        key = {}
        columns = ("parent_id", "branch_step", "intervention", "branch")
        for place, values in enumerate(
            zip(*(branches[name][...].tolist() for name in columns), strict=True)
        ):
            key[values] = place
        assert effects.uncontrolled == 0
        assert len(effects.row) == sum(values[2] > 0 for values in key)
        # All apply everywhere, but for the force of a position that holds a token.
        held = own["token"][:, [2, 4], 5] != random_model.token_ids.mask
        assert len(effects.row) == (3 * 2 * len(DO) - held.sum()) * samples
        for number in range(len(effects.row)):
            name, step = own.ids[effects.row[number]], int(effects.step[number])
            intervention, which = int(effects.intervention[number]), int(effects.branch[number])
            mine = final[key[name, step, intervention, which]]
            if samples == 1:
                control = own["token"][own.row(name)][-1]
            else:
                control = final[key[name, step, 0, which]]
            differs = mine != control
            assert effects.total[number] == differs.sum()
            assert effects.direct[number] + effects.collateral[number] == differs.sum()
            seven = random_model.tokenizer.encode("7", add_special_tokens=False)[0]
            text = effects.texts[intervention]
            start = branches["start_token"][key[name, step, intervention, which]]
            if text.startswith("set 2"):
                assert mine[2] == seven
            if text.startswith("force 5"):
                assert mine[5] == seven or start[5] != random_model.token_ids.mask
            if text.startswith("forbid"):
                open_then = start[4:] == random_model.token_ids.mask
                assert not (mine[4:][open_then] == seven).any()
        assert effects.total.sum() > 0
        assert np.isfinite(effects.gold_logprob).any() == 0 or record == "all"


def test_the_sweep_over_positions_and_its_picture(
    parent: Path, random_model: MaskedDiffusionModel
) -> None:
    with pytest.raises(SettingError, match="'remask each'"):
        draw_sensitivity(parent)
    result = branch(parent, at=[2, 4, 6], do="remask each", model=random_model)
    with open_run(parent) as own, open_run(result.path) as branches:
        (only,) = sensitivity_maps(effects_of(own, branches))
        values = only.of_decodings("total")
        for row in range(3):
            for place, step in enumerate((2, 4, 6)):
                held = own["token"][row][step - 1] != random_model.token_ids.mask
                assert np.isfinite(values[row, place]).tolist() == held.tolist()
        table = effect_table(own, seed=0)
        assert [row.intervention for row in table.rows] == ["remask each"] * 3
        assert table.warnings == []
    picture = draw_sensitivity(parent, do="remask each", problem="b")
    assert picture == parent / "sensitivity.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SettingError, match="problem 'z' has no branches at each position"):
        draw_sensitivity(parent, problem="z")
    with open_run(parent) as own:
        text = summarise(analyze_run(own, mutual_information=False, tsne=False))
    assert "Interventions, mean over problems" in text
    assert "remask each at step 2: " in text
