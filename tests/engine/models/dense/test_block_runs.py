"""Runs that a user starts of checkpoints that attend block by block: what they decode with, what is
recorded, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from diffengine.engine.cli.command_line import expected_failure, group
from diffengine.engine.store import open_run

ANCESTORS = {
    "do_sample": True,
    "eos_token_id": [302, 300],
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
}
"""The generation_config.json of an autoregressive ancestor, which the published samplers pass over
but for the ends."""


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def run_of(path: Path, out: Path, *more: Any) -> Any:
    short = ["--problems", "generated:3", "--gen-length", 9, "--device", "cpu"]
    return invoke("run", "--model", path, *short, "--out", out, *more)


def without_mask(path: Path) -> None:
    """Qwen3's own tokenizer, which OPDLM's conversion brings along."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (path / file).read_text()
        (path / file).write_text(text.replace("<|mask|>", "<|other|>"))


RUNS: list[tuple[str, list[Any], str, int]] = [
    ("SDAR", [], "sdar", 4),
    ("OPDLM", [], "sdar", 4),
    ("A2D-Qwen3 bd3lm", [], "bd3lm", 32),
    ("A2D-Llama bd3lm", ["--policy", "sdar"], "sdar", 32),
    ("Fast-dLLM v2", [], "fast_dllm_v2", 32),
    ("Fast-dLLM v2", ["--policy", "nemotron"], "nemotron", 32),
]
MASKS = {"OPDLM": 151669, "A2D-Llama bd3lm": 5, "Fast-dLLM v2": 322}
"""Of the tokenizers that the checkpoints are written with; 326 of Qwen3's others."""


@pytest.mark.parametrize(("family", "more", "policy", "length"), RUNS, ids=str)
def test_a_run_decodes_as_the_family_is_published(
    dense: Callable[..., Path],
    tmp_path: Path,
    family: str,
    more: list[Any],
    policy: str,
    length: int,
) -> None:
    path = dense(family, **({"vocab_size": 152000} if family == "OPDLM" else {}))
    (path / "generation_config.json").write_text(json.dumps(ANCESTORS))
    if family == "OPDLM":
        without_mask(path)
    out = tmp_path / "run"
    done = run_of(path, out, *more)
    assert done.exit_code == 0, done.output
    run = open_run(out)
    config = run.info["config"]
    assert (config["policy"], config["block_length"]) == (policy, length)
    assert (config["temperature"], config.get("top_k", 0)) == (0.0, 0)
    assert config.get("top_p", 1.0) == {"fast_dllm_v2": 0.95}.get(policy, 1.0)
    mask = MASKS.get(family, 326)
    assert run.info["model"]["mask_token_id"] == mask
    for number in range(len(run.ids)):
        start, end = run["open_start"][number], run["open_end"][number]
        assert ((end - start)[start >= 0] <= length).all()
        assert (run["token"][number][-1] != mask).all()
    verified = invoke("verify", out)
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize("family", ["SDAR", "Fast-dLLM v2", "OPDLM", "A2D-Llama bd3lm"])
def test_a_policy_for_whole_rows_is_refused(
    dense: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    out = tmp_path / "run"
    failed = run_of(dense(family), out, "--policy", "llada")
    assert failed.exception is not None and expected_failure(failed.exception) == 2
    assert "attends block by block" in str(failed.exception)
    assert not out.exists()


def test_i_dlm_is_refused_before_anything_is_written(
    dense: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    failed = run_of(dense("SDAR", "I-DLM-8B"), out)
    assert failed.exception is not None and expected_failure(failed.exception) is not None
    assert "causal model under SDAR's name" in str(failed.exception)
    assert not out.exists()
