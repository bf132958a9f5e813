"""A prompt template is what somebody would have typed: the same tokens as a problem that has those
words, or those turns, itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import diffengine as de
from diffengine.engine.cli.command_line import group
from diffengine.engine.config import ConfigError, RunConfig
from diffengine.engine.likelihood.cases import cases_after_prompt, cases_in_generation
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import PromptError, build_prompt, prompt_text
from diffengine.engine.prompts.template import turns_of

QUESTION = "How many are 2 {x} and {question}?"
PROBLEM = Problem(id="p", question=QUESTION, answer="4")
TURNS = [
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "The answer is {question}."},
    {"role": "user", "content": "Question: {question}\nAnswer:"},
]


def test_a_text_is_put_around_the_question(bundled_model: MaskedDiffusionModel) -> None:
    template = "In {} steps: {question}\nBox it: \\boxed{}."
    typed = replace(PROBLEM, question=f"In {{}} steps: {QUESTION}\nBox it: \\boxed{{}}.")
    by_hand = prompt_text(typed, bundled_model, style="chat")
    assert prompt_text(PROBLEM, bundled_model, style="chat", template=template) == by_hand


def test_turns_go_before_the_question(bundled_model: MaskedDiffusionModel) -> None:
    last = {"role": "user", "content": f"Question: {QUESTION}\nAnswer:"}
    typed = replace(PROBLEM, messages=[*TURNS[:2], last])
    by_hand = prompt_text(typed, bundled_model, style="chat")
    template = json.dumps(TURNS)
    assert prompt_text(PROBLEM, bundled_model, style="chat", template=template) == by_hand


def test_a_raw_prompt_is_the_template_alone(bundled_model: MaskedDiffusionModel) -> None:
    text = prompt_text(PROBLEM, bundled_model, style="raw", template="Q: {question} A:")
    assert text == f"Q: {QUESTION} A:"
    assert prompt_text(PROBLEM, bundled_model, style="raw") == f"{QUESTION} Answer:"
    prompt = build_prompt(
        PROBLEM, 0, bundled_model, style="raw", gen_length=8, template="Q: {question} A:"
    )
    expected = bundled_model.tokenizer.encode(text, add_special_tokens=False)
    assert list(prompt.token_ids) == expected
    assert prompt.problem == PROBLEM


def test_a_conversation_has_its_own_words(bundled_model: MaskedDiffusionModel) -> None:
    long = replace(PROBLEM, messages=TURNS)
    with pytest.raises(PromptError, match="conversation of 3 turns"):
        prompt_text(long, bundled_model, style="chat", template="Q: {question}")
    short = replace(PROBLEM, messages=[{"role": "user", "content": QUESTION}])
    text = prompt_text(short, bundled_model, style="chat", template="Q: {question}")
    assert f"Q: {QUESTION}" in text


@pytest.mark.parametrize(
    ("template", "style", "message"),
    [
        ("Question:", "chat", "'Question:', without {question}"),
        ("{question }", "raw", "without {question}"),
        (json.dumps(TURNS), "raw", "3 turns, but prompt_style is 'raw'"),
        (json.dumps(TURNS[:2]), "chat", "ends with a turn of 'assistant'"),
        (json.dumps(TURNS[:1]), "chat", "'1 \\+ 1\\?', without"),
        ('["{question}"]', "chat", "a list must be one of turns"),
        ('[{"role": "user"}]', "chat", "a list must be one of turns"),
        ("[]", "chat", "a list must be one of turns"),
    ],
)
def test_what_makes_no_prompt_is_refused(template: str, style: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.of(model="m", prompt_style=style, prompt_template=template)


def test_a_bracket_makes_no_list() -> None:
    assert turns_of("[Question] {question} [/Question]") is None
    assert turns_of("[" * 100_000) is None
    RunConfig.of(model="m", prompt_template="[Question] {question} [/Question]")


def test_the_command_line_reads_a_file_and_run_json_has_its_text(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("{question}\nThink.\n", encoding="utf-8")
    out = tmp_path / "run"
    command = ["run", "--limit", "1", "--gen-length", "8", "--out", str(out)]
    done = CliRunner().invoke(group, [*command, "--prompt-template", f"@{file}"])
    assert done.exit_code == 0, done.output
    run = de.open_run(out)
    assert run.info["config"]["prompt_template"] == "{question}\nThink."

    other = CliRunner().invoke(group, command)
    assert "prompt_template: '{question}\\nThink.' there, '' now" in str(other.exception)
    missing = CliRunner().invoke(group, [*command, "--prompt-template", "@nowhere"])
    assert missing.exit_code == 2
    assert "nowhere" in missing.output


def test_likelihood_asks_behind_the_runs_own_prompt(
    tmp_path: Path, bundled_model: MaskedDiffusionModel
) -> None:
    words = "{question} Think."
    de.run("samples", limit=2, out=tmp_path / "run", gen_length=48, prompt_template=words)
    run = de.open_run(tmp_path / "run")
    cases = [case for case in cases_in_generation(run, bundled_model) if not case.skipped]
    assert cases
    for case in cases:
        problem = next(p for p in run.problems if p.id == case.problem_id)
        text = prompt_text(
            replace(problem, question=f"{problem.question} Think."), bundled_model, style="chat"
        )
        ids = bundled_model.tokenizer.encode(text, add_special_tokens=False)
        assert list(case.canvas[: len(ids)]) == ids
    (case,) = cases_after_prompt([PROBLEM], bundled_model, style="raw", template="Q: {question}")
    ids = bundled_model.tokenizer.encode(f"Q: {QUESTION}", add_special_tokens=False)
    assert list(case.canvas[: len(ids)]) == ids
