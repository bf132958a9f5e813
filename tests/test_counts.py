"""One thing has no plural s, in any text of ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.store.counts import count_text, decodings_text, noun_for, unit_of

ROOT = Path(__file__).resolve().parents[1]

THINGS = (
    "problem shard run row step worker position spike token cell column record id label variable "
    "dimension feature place schedule logit reason line answer sample branch decoding"
)
"""Things of which a user may have one. Where there are always many, the number is a constant."""

BY_HAND = re.compile(
    rf"^ (?:(?!at |of |repeats )[a-z]+ )?(?:{'|'.join(noun_for('many', thing) for thing in THINGS.split())})\b(?!/)"
)

NEVER_ONE = {
    "engine/models/bundled/generator.py": "the word problems, as the model was trained on them",
    "engine/models/llada_moe.py": "layers of a list with one entry for each",
    "engine/models/bundled/objective.py": "an assertion of the training script",
    "engine/models/stock_decoder.py": "features of a head",
    "engine/models/tokens.py": "a vocabulary",
    "engine/policies/__init__.py": "each of the steps",
    "engine/problems/sources.py": "N of generated:N, as it is typed",
    "engine/prompts/prompt.py": "the positions of a model",
    "analysis/findings/by_verdict.py": "the problems of an outcome, not their number",
    "analysis/information/decoding.py": "folds need more",
    "analysis/information/neighbors.py": "n of a sentence about k",
    "analysis/information/sample.py": "n of a sentence about k",
    "analysis/information/step_curve.py": "limits, which are constants",
    "analysis/information/targets.py": "limits, which are constants",
    "analysis/original/logits_pt.py": "a vocabulary, and problems of unlike ends",
    "analysis/show/plots/information_gain.py": "has words of its own for one spike",
    "analysis/show/plots/answer_information.py": "branches of one state, which are many",
    "analysis/show/plots/panel.py": "a message to whoever writes a panel",
    "analysis/show/summary_interventions.py": "a mean, as 1.2 tokens",
    "analysis/show/values.py": "from a lower to a higher number of steps",
}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 problems"),
        (1, "1 problem"),
        (2, "2 problems"),
        (11, "11 problems"),
        (21, "21 problems"),
    ],
)
def test_a_count_and_its_noun_agree(number: int, text: str) -> None:
    assert count_text(number, "problem") == text
    assert text == f"{number} {noun_for(number, 'problem')}"


def test_other_plurals_and_numbers_that_are_texts() -> None:
    assert count_text(1, "forward pass", "forward passes") == "1 forward pass"
    assert count_text(3, "forward pass", "forward passes") == "3 forward passes"
    assert count_text("?", "problem") == "? problems"
    assert count_text("1,000", "byte") == "1,000 bytes"
    assert count_text("1", "byte") == "1 byte"


@pytest.mark.parametrize(
    ("decodings", "problems", "are_branches", "text"),
    [
        (1, 1, False, "1 problem"),
        (40, 40, False, "40 problems"),
        (3, 1, False, "3 samples of 1 problem"),
        (160, 40, False, "160 samples of 40 problems"),
        (5, 0, False, "5 problems"),
        (1, 1, True, "1 branch"),
        (256, 4, True, "256 branches"),
    ],
)
def test_decodings_are_called_what_they_are(
    decodings: int, problems: int, are_branches: bool, text: str
) -> None:
    unit = unit_of(decodings, problems, are_branches=are_branches)
    assert decodings_text(decodings, unit, problems) == text


def test_some_of_the_samples_are_still_samples() -> None:
    assert decodings_text(1, unit_of(6, 2), 2) == "1 sample of 2 problems"


def counts_by_hand(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each f-string with a bare value before the plural of a thing."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            is_value = isinstance(value, ast.FormattedValue) and not _is_rounded(value)
            if is_value and isinstance(text, ast.Constant) and BY_HAND.match(text.value):
                yield node.lineno, str(text.value)


def logged_by_hand(source: str) -> list[str]:
    """The same of a number that logging writes into its message."""
    return re.findall(rf"%d{BY_HAND.pattern.removeprefix('^')}", source)


def _is_rounded(value: ast.FormattedValue) -> bool:
    """`1.0 steps` is right, and so is `0.5 problems`."""
    spec = value.format_spec
    if not isinstance(spec, ast.JoinedStr):
        return False
    return any(isinstance(part, ast.Constant) and "f" in str(part.value) for part in spec.values)


def test_a_plural_written_by_hand_is_seen() -> None:
    assert list(counts_by_hand('x = f"{n} problems"')) == [(1, " problems")]
    assert list(counts_by_hand('x = f"{n} branches"')) == [(1, " branches")]
    assert list(counts_by_hand('x = f"{n:,} problems"')) == [(1, " problems")]
    assert list(counts_by_hand('x = f"a {n} bad lines "')) == [(1, " bad lines ")]
    assert list(counts_by_hand('x = f"{n} of {m} " "stored problems, {k}"')) == [
        (1, " stored problems, {k}")
    ]
    for right in ('f"{n:.1f} steps"', 'f"{n} problems/h"', 'f"{n} steeps"', '"3 problems"'):
        assert list(counts_by_hand(f"x = {right}")) == []
    assert logged_by_hand('log("%s: %d damaged lines")') == ["%d damaged lines"]
    assert logged_by_hand('log("%s: %s damaged lines, %d line")') == []


@pytest.mark.parametrize("part", ["engine", "analysis"])
def test_no_text_counts_by_hand(part: str) -> None:
    seen: dict[str, list[Any]] = {}
    for path in sorted((ROOT / part).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        source = path.read_text(encoding="utf-8")
        lines: list[Any] = [*counts_by_hand(source), *logged_by_hand(source)]
        if lines and name not in NEVER_ONE:
            seen[name] = lines
    assert not seen, "use count_text of engine/store/counts.py"
