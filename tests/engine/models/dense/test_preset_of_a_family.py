"""A preset runs on the checkpoints that it is for, and asks in the published words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import diffengine as de
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import build_prompt

QUESTION = "What is 2 + 2?"


@pytest.mark.parametrize(
    ("preset", "family", "words"),
    [
        ("dream-7b-instruct-gsm8k", "Dream", f"Q: {QUESTION}\nA:"),
        ("qwen3-0.6b-mdlm-math", "A2D-Qwen3", f"Problem:\n{QUESTION}\n\nSolution:"),
    ],
)
def test_a_tiny_checkpoint_of_the_family_runs_its_preset(
    preset: str,
    family: str,
    words: str,
    dense: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkpoint = dense(family)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"question": QUESTION, "answer": "4"}), encoding="utf-8")
    done = de.run(problems, model=checkpoint, out=tmp_path / "run", preset=preset, gen_length=8)
    assert (done.done, done.failed) == (1, {})

    run = de.open_run(done.path)
    assert set(run.info["preset"]["changed"]) <= {"steps", "gen_length", "block_length"}
    assert run.info["config"]["policy"] == ("dream" if family == "Dream" else "llada")
    assert run.info["model"]["dtype"] == "bfloat16"
    assert "the published score says nothing of it" not in caplog.text

    model = de.load_model(checkpoint, device="cpu")
    typed = Problem(id="typed", question=words, answer=None)
    prompt = build_prompt(typed, 0, model, style="chat", gen_length=8)
    assert run["prompt_length"][0] == len(prompt.token_ids)
