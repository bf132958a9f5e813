r"""Whether a generated text gives the gold answer: which characters are its answer, and do they
equal the gold.

The answer is taken from the last `\boxed{}`, else the last `####`, else the last "answer is" or
"answer:", else, for a numeric gold, the last number. Numbers compare exactly as fractions, anything
else as normalised text; a word of the text that happens to equal the gold never counts. A text
without an answer is a verdict of its own, not "wrong". Where either answer is no number that can be
read exactly, and they differ as text, Math-Verify is asked where it is installed (`symbolic`),
whichever of the two it is. A number that two conventions read differently (`12,5`), and that is
right in one of them, is a verdict of its own too. Knows nothing of tokens, nor of number words.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from ..problems.formats import last_boxed
from ..store.format.verdicts import VerdictName
from .ambiguous import Ambiguous, ambiguous_numbers, readings
from .numbers import MOST_DIGITS, numbers, parse_value, same_text
from .symbolic import same_expression

_ANSWER_IS = re.compile(
    r"\banswers?\b[*_]*(?:\s*\([^()\n]*\))?\s*(?:(?:is|are)\b(?!\s*not\b)|:|=)[\s:*_]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_HEADING = re.compile(r"\d+[.):]\s+[^\W\d]|(?:step|part|problem|case)\b", re.IGNORECASE)
_CHOICE = re.compile(r"\(([A-Z])\)|([A-Z])(?=[.,:;)]|\s*$|\s+(?:because|since)\b)")
_FORMULA = re.compile(r"\$((?:\\.|[^$\\\n])+)\$|\\\(((?:(?!\\\)).)+)\\\)")
_LATEX = re.compile(
    r"\^|\\(?:[dtc]?frac|sqrt|pi|cdot|times|binom|log|ln|sin|cos|tan|infty|pm)(?![A-Za-z])"
)
_OPERAND = re.compile(r"(?:[^=.;,\n(]|[.,](?=\d)|\((?=[\d\s+*/.-]*\)))*")


class Grade(NamedTuple):
    """The verdict and what it rests on.

    text[start:end] == extracted; -1, -1 and "" where nothing was found. `rule` names how the answer
    was found and how it was compared, as in "boxed:number". The lm-eval verdicts are None without a
    gold answer.
    """

    verdict: VerdictName
    extracted: str
    start: int
    end: int
    rule: str
    lm_eval_strict: bool | None
    lm_eval_flexible: bool | None


class _Span(NamedTuple):
    start: int
    end: int


def grade(text: str, gold: str | None) -> Grade:
    """Grade one generated text (special tokens removed) against the gold answer, or only find its
    answer if None."""
    numeric = gold is None or parse_value(gold) is not None or bool(readings(gold))
    found, rule = _extract(text, numeric=numeric, choice=gold is not None and _is_choice(gold))
    extracted = text[found.start : found.end] if found else ""
    start, end = found or (-1, -1)
    if gold is None:
        return Grade("no_gold_answer", extracted, start, end, rule, None, None)
    strict = lm_eval_strict(text, gold)
    flexible = lm_eval_flexible(text, gold)
    if found is None:
        return Grade("no_answer_extracted", extracted, start, end, rule, strict, flexible)
    verdict, comparison = _compare(extracted, gold)
    return Grade(verdict, extracted, start, end, f"{rule}:{comparison}", strict, flexible)


def lm_eval_strict(text: str, gold: str) -> bool:
    """The verdict of lm-eval's gsm8k `strict-match` filter: the first number behind `#### `."""
    match = re.search(r"#### (-?[0-9.,]+)", text)
    return _lm_eval_equal(match[1] if match else "[invalid]", gold)


def lm_eval_flexible(text: str, gold: str) -> bool:
    """The verdict of lm-eval's gsm8k `flexible-extract` filter: the last thing that looks like a
    number."""
    found = [match[0] for match in re.finditer(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)]
    return _lm_eval_equal(found[-1] if found else "[invalid]", gold)


def _lm_eval_equal(prediction: str, gold: str) -> bool:
    def normalised(answer: str) -> str:
        for ignored in (",", r"\$", r"(?s).*#### ", r"\.$"):
            answer = re.sub(ignored, "", answer)
        return answer.lower()

    return normalised(prediction) == normalised(gold)


def _extract(text: str, *, numeric: bool, choice: bool) -> tuple[_Span | None, str]:
    box = _stripped(text, *span) if (span := last_boxed(text)) else None
    if box and box.start < box.end:
        value = parse_value(text[box.start : box.end]) if numeric else None
        return (_shift(value, box.start) if value else box), "boxed"
    for rule, candidates in (
        ("hashes", _after_hashes(text)),
        ("answer_is", _after_answer_is(text)),
    ):
        for segment in reversed(candidates):
            if answer := _segment_answer(text, segment, numeric=numeric, choice=choice):
                return answer, rule
    candidates_in_text = [*numbers(text), *ambiguous_numbers(text)] if numeric else []
    last = max(candidates_in_text, key=lambda number: (number[1], -number[0]), default=None)
    return (_shift(last, 0), "last_number") if last else (None, "")


def _segment_answer(text: str, segment: _Span, *, numeric: bool, choice: bool) -> _Span | None:
    """The answer in what follows a marker: a first number, a letter of choice, or all of it."""
    if not numeric:
        if choice and (letter := _CHOICE.match(text, segment.start, segment.end)):
            return _Span(*letter.span(letter.lastindex or 0))
        return segment if segment.start < segment.end else None
    begin = _right_hand_side(text, segment)
    if formula := _unread_formula(text, begin, segment.end):
        return formula
    rest = text[begin : segment.end]
    first: tuple[int, int, object] | None = next(
        iter(numbers(rest, leading_minus_is_sign=True)), None
    )
    ambiguous = next(iter(ambiguous_numbers(rest) + _opening_spaced(rest)), None)
    if ambiguous is not None and (first is None or ambiguous.start <= first[0]):
        first = ambiguous
    return _shift(first, begin) if first else None


def _opening_spaced(rest: str) -> list[Ambiguous]:
    """`1 234` with an ordinary space, where it opens a segment; further in two numbers stand beside
    each other."""
    return [
        number
        for number in ambiguous_numbers(rest, spaced=True)[:1]
        if not rest[: number.start].strip(" $*:\t")
    ]


def _unread_formula(text: str, begin: int, end: int) -> _Span | None:
    r"""The formula (`$...$`, `\(...\)`) that opens a segment, where it is no plain number: all of
    it is the answer."""
    formula = _FORMULA.match(text, begin, end)
    if formula is None:
        return None
    span = _stripped(text, *formula.span(formula.lastindex or 0))
    inner = text[span.start : span.end]
    if _LATEX.search(inner) is None or len(inner) > MOST_DIGITS or parse_value(inner) is not None:
        return None
    return span


def _right_hand_side(text: str, segment: _Span) -> int:
    """Where the result of the sum that opens the segment begins (`3 + 4 = 7`), else where the
    segment begins."""
    begin = segment.start
    while (equals := text.find("=", begin, segment.end)) >= 0:
        left = text[begin:equals]
        if begin == segment.start and not re.search(r"[-+*/×÷·−]|\\times|\\cdot|\\div", left):
            break
        if not _OPERAND.fullmatch(left):
            break
        begin = equals + 1
    return begin


def _after_hashes(text: str) -> list[_Span]:
    """The rest of the line behind each `####`, but not where Markdown means a heading by it."""
    spans = []
    for match in re.finditer(r"#{4}(?!#)[ \t:*]*([^\n]*)", text):
        if text[match.start() - 1 : match.start()] != "#" and not _HEADING.match(match[1]):
            spans.append(_stripped(text, *match.span(1)))
    return spans


def _after_answer_is(text: str) -> list[_Span]:
    """The rest of the sentence behind each "answer is" or "answer:", up to the next of them."""
    markers = [match.span() for match in _ANSWER_IS.finditer(text)]
    spans = []
    for (_, start), (limit, _) in pairwise([*markers, (len(text), len(text))]):
        stop = _SENTENCE_END.search(text, start, limit)
        spans.append(_stripped(text, start, stop.start() if stop else limit))
    return spans


def _compare(extracted: str, gold: str) -> tuple[VerdictName, str]:
    found = parse_value(extracted)
    wanted = parse_value(gold)
    if found is not None and wanted is not None:
        return "correct" if found.value == wanted.value else "wrong", "number"
    if same_text(extracted, gold):
        return "correct", "text"
    if _is_choice(gold):
        return "wrong", "text"
    may_be = frozenset((found.value,)) if found else readings(extracted)
    may_be_wanted = frozenset((wanted.value,)) if wanted else readings(gold)
    if may_be and may_be_wanted:
        return "ambiguous" if may_be & may_be_wanted else "wrong", "ambiguous_number"
    outcome = same_expression(gold, extracted)
    rule = {"same": "math_verify", "different": "math_verify"}.get(outcome, f"text,{outcome}")
    return "correct" if outcome == "same" else "wrong", rule


def _is_choice(gold: str) -> bool:
    return re.fullmatch(r"\(?[A-Z]\)?", gold.strip()) is not None


def _stripped(text: str, start: int, end: int) -> _Span:
    """The span without the white space and emphasis around it."""
    inner = text[start:end]
    begin = start + len(inner) - len(inner.lstrip(" \t\n\r*_"))
    return _Span(begin, max(begin, start + len(inner.rstrip(" \t\n\r*_"))))


def _shift(found: tuple[int, int, object], by: int) -> _Span:
    return _Span(found[0] + by, found[1] + by)
