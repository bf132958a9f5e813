"""Chat templates: the same text as transformers makes of them, and one sentence for whatever a
template may do."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from transformers import PreTrainedTokenizerFast

from diffengine.engine.cli import command_line as cli
from diffengine.engine.cli.command_line import expected_failure
from diffengine.engine.config import resolve
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts import chat_template
from diffengine.engine.prompts.chat_template import (
    PromptError,
    TemplateError,
    TemplateWorker,
    render_chat,
)
from diffengine.engine.runs.plan import BUNDLED, prompts_of

USER = [{"role": "user", "content": '2 + 2 <|x|> & "é" \u2009?'}]
TURNS = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "a"},
         {"role": "assistant", "content": "b\n"}, {"role": "user", "content": "c"}]  # fmt: skip

LLADA = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n"
    "'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if "
    "add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN = (
    "{%- if tools %}\n    {{- 'tools' + (tools | tojson) }}\n{%- else %}\n"
    "    {%- if messages[0]['role'] == 'system' %}\n"
    "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    {%- "
    "else %}\n"
    "        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}\n    {%- "
    "endif %}\n"
    "{%- endif %}\n"
    '{%- for message in messages %}\n    {%- if (message.role == "user") or (message.role == "assistant" and not '
    "message.tool_calls) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' "
    "}}\n"
    "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
FEATURES = (
    "{% set ns = namespace(n=0, seen='') %}{% macro show(m) %}[{{ m.role }}]{% endmacro %}\n"
    "  {% for m in messages if m.role != 'system' %}\n"
    "    {% set ns.n = ns.n + 1 %}{{ show(m) }}{{ m | tojson(indent=2) }}\n"
    "    {% if m.content.startswith('b') %}{% continue %}{% endif %}{% generation %}{{ "
    "m['content'] | upper }}"
    "{% endgeneration %}\n    {% if ns.n > 5 %}{% break %}{% endif %}\n  {% endfor %}\n"
    "{{ dict(a=1, b=[1, 2])['b'][-1] }}"
    "{{ dict.fromkeys(['q']) }}{{ ns.n }}{{ range(3) | list }}{{ undefined_name }}{"
    "{ messages[-1].content[::-1] }}"
    "{{ eos_token }}{{ strftime_now('%Y') }}{{ tools is none }}{{ documents is none }}{# comment "
    "#}\n\n"
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(str(BUNDLED), local_files_only=True)


@pytest.fixture
def worker():
    made = TemplateWorker(seconds=0.5, most_characters=200_000)
    yield made
    made.close()


@pytest.mark.parametrize("messages", [USER, TURNS], ids=["one", "four"])
@pytest.mark.parametrize(
    "template", [None, LLADA, QWEN, FEATURES], ids=["bundled", "llada", "qwen", "features"]
)
def test_the_text_is_the_one_of_transformers(tokenizer, template, messages):
    tokenizer.bos_token, tokenizer.eos_token = "<|startoftext|>", "<|endoftext|>"
    tokenizer.chat_template = template or tokenizer.chat_template
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert render_chat(tokenizer, messages) == expected and len(expected) > 20


@pytest.mark.parametrize("template, says", [
    ("{% for i in range(10**9) %}x{% endfor %}", "asks for too much: Range too big"),
    ("{{ ''.__class__.__mro__ }}", "asks for what a template may not have: access to attribute "
                                   "'__class__'"),
    ("{{ messages.append(1) }}", "asks for what a template may not have"),
    ("{{ namespace(__class__=1) }}", "asks for what a template may not have"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "more than 0.5 s of processor time"),
    ("{{ 10 ** (10 ** 10) }}", "more than 0.5 s of processor time"),
    ("{% for i in range(99999) %}{% for j in range(99999) %}xxxx{% endfor %}{% endfor %}",
    "more than 200,000 characters"),
    ("{{ 'a' * 10 ** 6 }}", "more than 200,000 characters"),
    ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "calls itself without end"),
    ("a\n{% if %}", "has a syntax error in line 2"), ("{% nothing %}", "has a syntax error in line "
                                                                       "1"),
    ("{% include '/etc/passwd' %}", "fails with TypeError"), ("{{ '%s' | format }}", "fails with TypeError"),
])  # fmt: skip
def test_a_template_that_can_make_no_prompt_is_one_sentence(worker, template, says):
    """The worker answers the next question: it was replaced where it had to be killed."""
    with pytest.raises((TemplateError, PromptError)) as caught:
        worker.render(template, USER, {}, file="here/chat_template.jinja")
    message = str(caught.value)
    assert says in message and message.startswith("here/chat_template.jinja: the chat template ")
    assert "\n" not in message and message.endswith("mend it there, or use --prompt-style raw")
    assert worker.render("{{ messages[0].role }}", USER, {}, file="") == "user"


@pytest.mark.parametrize("template", [
    "{{ 'a' * 10 ** 10 }}", "{{ [0] * 10 ** 9 }}",
    "{% set ns = namespace(a='aaaaaaaa') %}{% for i in range(99) %}{% set ns.a = ns.a + ns.a %}{% "
    "endfor %}",
])  # fmt: skip
def test_a_template_that_fills_the_memory_is_one_sentence(template):
    worker = TemplateWorker(seconds=30)
    with pytest.raises(TemplateError, match="needs more than 1,024 MiB of memory"):
        worker.render(template, USER, {}, file="f")
    worker.close()


@pytest.mark.parametrize("template, says", [
    ("{{ raise_exception('only\n one turn') }}", "refuses: only one turn"),
    ("{{ messages[7].content }}", "uses what is not there"), ("{{ nothing.at.all }}", "uses what is not there"),
    ("{{ 1 / 0 }}", "fails with ZeroDivisionError"), ("{{ '\\ud800' }}",
    "writes half a surrogate pair (U+D800)"),
    ("{{ messages | sum }}", "fails with TypeError"),
])  # fmt: skip
def test_what_may_be_the_conversations_fault_fails_that_problem_only(worker, template, says):
    with pytest.raises(PromptError) as caught:
        worker.render(template, USER, {}, file="f")
    assert says in str(caught.value)


@pytest.mark.parametrize("template, says", [
    ({"tool_use": "x"}, "has chat templates called tool_use, none called default"),
    (5, "is a int, expected text"),
    (["x"], "is a list, expected text"), ({"default": None}, "is a NoneType, expected text"),
])  # fmt: skip
def test_a_template_that_is_no_text(template, says, tmp_path):
    fake = SimpleNamespace(
        chat_template=template, special_tokens_map={}, name_or_path=str(tmp_path)
    )
    with pytest.raises(TemplateError) as caught:
        render_chat(fake, USER)
    assert says in str(caught.value) and str(tmp_path / "tokenizer_config.json") in str(
        caught.value
    )
    assert expected_failure(caught.value) == 1


def test_many_threads_share_one_worker_and_get_their_own_answers(worker):
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = worker.render(
            "{{ messages[0].content }}", [{"content": f"é{number}"}], {}, file=""
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"é{number}" for number in range(20)}


def test_an_interrupted_question_leaves_no_answer_for_the_next(worker, monkeypatch):
    assert worker.render("a", USER, {}, file="") == "a"
    asked = worker._process

    def interrupted(line: str, *, seconds: float) -> str:
        asked._child.stdin.write(line + "\n")
        asked._child.stdin.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(asked, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.render("b", USER, {}, file="")
    monkeypatch.undo()
    assert worker.render("c", USER, {}, file="") == "c"


def test_thousands_of_prompts_take_one_process(worker):
    assert worker.render(QWEN, USER, {}, file="")
    process, started = worker._process, time.process_time()
    for number in range(2000):
        assert str(number) in worker.render(
            QWEN, [{"role": "user", "content": str(number)}], {}, file=""
        )
    assert worker._process is process
    assert time.process_time() - started < 10  # seconds; 0.3


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_run_on_a_looping_template_ends_in_a_sentence(name, tmp_path, monkeypatch, capsys):
    """From the command line: exit code 1, the file named, no traceback, nothing decoded."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(BUNDLED, checkpoint)
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    if name == "chat_template.jinja":
        (checkpoint / name).write_text(loops)
    else:
        (checkpoint / name).write_text(json.dumps(config | {"chat_template": loops}))
    monkeypatch.setattr(chat_template, "_WORKER", TemplateWorker(seconds=0.3))
    command = [
        "diffengine",
        "run",
        "--model",
        str(checkpoint),
        "--out",
        str(tmp_path / "run"),
        "--limit",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "Traceback" not in said
    assert (
        f"Error: {checkpoint / name}: the chat template took more than 0.3 s of processor time"
        in said
    )
    assert not list((tmp_path / "run").glob("shards/*.h5"))
    chat_template._WORKER.close()


def test_a_template_that_refuses_every_problem_is_not_said_a_thousand_times(
    bundled_model, monkeypatch, caplog
):
    """A faked tokenizer whose template refuses; all problems fail, four lines say so."""
    fake = SimpleNamespace(
        chat_template="{{ raise_exception('no') }}", special_tokens_map={}, name_or_path="here"
    )
    model = replace(bundled_model, tokenizer=fake)
    problems = [Problem(id=str(number), question="q", answer="1") for number in range(50)]
    config = resolve({}, checkpoint=model.sampler_defaults, model="bundled", dtype="float32")
    prompts, failed = prompts_of(list(enumerate(problems)), model, config)
    assert prompts == [] and set(failed) == {problem.id for problem in problems}
    reason = (
        "here/tokenizer_config.json: the chat template refuses: no; mend it there, or use "
        "--prompt-style raw"
    )
    assert set(failed.values()) == {reason}
    assert [record.getMessage() for record in caplog.records] == [
        *(f"problem {number}: {reason}" for number in range(3)), f"and 47 more problems: {reason}"
    ]  # fmt: skip
