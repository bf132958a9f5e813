"""tokens.json has the text of every id that a shard holds, whatever variable holds it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from diffengine.engine.runs.token_table import TokenTable
from diffengine.engine.store.format.schema import VARIABLES

OF_TOKENS = {"token", "prediction", "answer_token_id", "topk_id"}


def test_every_variable_of_ids_is_named(tmp_path: Path) -> None:
    ids = [name for name, row in VARIABLES.items() if row.units == "id"]
    assert set(ids) >= OF_TOKENS
    columns = {name: np.array([[-1, 10 + place]]) for place, name in enumerate(ids)}
    columns["n_masked"] = np.array([[99]])
    table = TokenTable(tmp_path / "tokens.json", lambda token: f"<{token}>", run_id="x")
    table.add(columns)
    table.save()
    stored = json.loads((tmp_path / "tokens.json").read_text())
    texts = {name: text for name, text in stored.items() if name.isdecimal()}
    assert texts == {str(10 + place): f"<{10 + place}>" for place in range(len(ids))}
