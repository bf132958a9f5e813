"""A stamped object knows every change of its content, and no change of its form."""

from __future__ import annotations

import json

import pytest

from diffengine.engine.store.format.stamp import is_intact, stamped

RECORD = {"b": [1, 2.5, None, True], "a": {"ü": "\ud800 ä", "x": float("nan")}, "n": 1e-300}


def test_it_survives_being_written_in_any_form() -> None:
    record = stamped(RECORD)
    assert list(record)[-1] == "sha256"
    for options in ({}, {"indent": 2}, {"sort_keys": True}, {"ensure_ascii": False}):
        assert is_intact(json.loads(json.dumps(record, **options)))
    assert stamped(record) == record


@pytest.mark.parametrize(
    "change", [{"n": 1e-301}, {"new": 0}, {"sha256": "0" * 64}, {"b": [1, 2.5, None, 1]}]
)
def test_any_other_content_is_seen(change: dict[str, object]) -> None:
    assert not is_intact({**stamped(RECORD), **change})


def test_without_a_stamp_it_is_taken_as_it_is() -> None:
    assert is_intact(RECORD) and not is_intact({**RECORD, "line": 1}, key="line")
    assert is_intact(stamped(RECORD, key="line"), key="line")
