r"""Whether a generated text gives the gold answer: which characters are its answer, and do they
equal the gold.

The answer is taken from the last `\boxed{}`, else the last `####`, else the last "answer is" or
"answer:", else, for a numeric gold, the last number. Numbers compare exactly as fractions, anything
else as normalised text; a word of the text that happens to equal the gold never counts. A text
without an answer is a verdict of its own, not "wrong". Where either answer is no number that can be
read exactly, and they differ as text, Math-Verify is asked where it is installed (`symbolic`),
whichever of the two it is. A number that two conventions read differently (`12,5`), and that is
right in one of them, is a verdict of its own too. Number words are not read.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from ..store.format.verdicts import VerdictName
from .ambiguous import Ambiguous, ambiguous_numbers, readings
from .boxed import last_boxed
from .number_patterns import MOST_DIGITS
from .numbers import Number, numbers, parse_value, same_text
from .symbolic import same_expression

_ANSWER_IS = re.compile(
    r"\banswers?\b[*_]*(?:\s*\([^()\n]*\))?"  # **answer** (in dollars)
    r"\s*(?:(?:is|are)\b(?!\s*not\b)|:|=)[\s:*_]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_HEADING = re.compile(r"\d+[.):]\s+[^\W\d]|(?:step|part|problem|case)\b", re.IGNORECASE)
"""What stands behind `####` where Markdown means a heading by it."""
_CHOICE = re.compile(
    r"\(([A-Z])\)"  # (B)
    r"|([A-Z])(?=[.,:;)]|\s*$|\s+(?:because|since)\b)"  # B. or B because, but not "A man"
)
_FORMULA = re.compile(
    r"\$((?:\\.|[^$\\\n])+)\$"  # $...$
    r"|\\\(((?:(?!\\\)).)+)\\\)"  # \(...\)
)
_LATEX = re.compile(
    r"\^|\\(?:[dtc]?frac|sqrt|pi|cdot|times|binom|log|ln|sin|cos|tan|infty|pm)(?![A-Za-z])"
)
_OPERATOR = re.compile(r"[-+*/×÷·−]|\\times|\\cdot|\\div")
_OPERAND = re.compile(
    r"(?:[^=.;,\n(]"
    r"|[.,](?=\d)"  # a decimal point, not the end of the sentence
    r"|\((?=[\d\s+*/.-]*\)))*"  # a bracket of numbers, not a remark
)


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


class _Asked(NamedTuple):
    """What kind of answer the gold answer lets expect."""

    number: bool
    choice: bool


def grade(text: str, gold: str | None) -> Grade:
    """Grade one generated text (special tokens removed) against the gold answer, or only find its
    answer if None."""
    span, rule = _extract(text, _asked(gold))
    start, end = span or (-1, -1)
    extracted = text[start:end] if span else ""
    if gold is None:
        return Grade("no_gold_answer", extracted, start, end, rule, None, None)

    strict = lm_eval_strict(text, gold)
    flexible = lm_eval_flexible(text, gold)
    if span is None:
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
    matches = [match[0] for match in re.finditer(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)]
    return _lm_eval_equal(matches[-1] if matches else "[invalid]", gold)


def same_answer(answer: str, other: str) -> bool:
    """Whether two extracted answers are the same number, or else the same text; neither is gold."""
    value = parse_value(answer)
    other_value = parse_value(other)
    if value is not None and other_value is not None:
        return value.value == other_value.value
    return same_text(answer, other)


def _lm_eval_equal(prediction: str, gold: str) -> bool:
    def normalised(answer: str) -> str:
        for ignored in (",", r"\$", r"(?s).*#### ", r"\.$"):
            answer = re.sub(ignored, "", answer)
        return answer.lower()

    return normalised(prediction) == normalised(gold)


def _asked(gold: str | None) -> _Asked:
    if gold is None:
        return _Asked(number=True, choice=False)
    number = parse_value(gold) is not None or bool(readings(gold))
    return _Asked(number, _is_choice(gold))


def _extract(text: str, asked: _Asked) -> tuple[_Span | None, str]:
    """Where the answer stands, None where there is none, and the rule that found it."""
    box = _last_box(text)
    if box is not None:
        value = parse_value(text[box.start : box.end]) if asked.number else None
        return (_shifted(value, box.start) if value else box), "boxed"

    for segment in reversed(_after_hashes(text)):
        if answer := _segment_answer(text, segment, asked):
            return answer, "hashes"
    for segment in reversed(_after_answer_is(text)):
        if answer := _segment_answer(text, segment, asked):
            return answer, "answer_is"
    if asked.number and (last := _last_number(text)):
        return last, "last_number"
    return None, ""


def _last_box(text: str) -> _Span | None:
    span = last_boxed(text)
    if span is None:
        return None
    box = _stripped(text, *span)
    return box if box.start < box.end else None


def _last_number(text: str) -> _Span | None:
    """The number that ends last; of two that end together the one that begins first."""
    spans = [_Span(number.start, number.end) for number in numbers(text)]
    spans += [_Span(number.start, number.end) for number in ambiguous_numbers(text)]
    return max(spans, key=lambda span: (span.end, -span.start), default=None)


def _segment_answer(text: str, segment: _Span, asked: _Asked) -> _Span | None:
    """The answer in what follows a marker: a first number, a letter of choice, or all of it."""
    if asked.number:
        return _segment_number(text, segment)
    if asked.choice and (letter := _CHOICE.match(text, segment.start, segment.end)):
        return _Span(*letter.span(letter.lastindex or 0))
    return segment if segment.start < segment.end else None


def _segment_number(text: str, segment: _Span) -> _Span | None:
    start = _right_hand_side(text, segment)
    if formula := _unread_formula(text, start, segment.end):
        return formula
    rest = text[start : segment.end]
    plain = next(numbers(rest, leading_minus_is_sign=True), None)
    ambiguous = next(iter(ambiguous_numbers(rest) + _opening_spaced(rest)), None)
    if ambiguous is not None and (plain is None or ambiguous.start <= plain.start):
        return _shifted(ambiguous, start)
    return _shifted(plain, start) if plain else None


def _opening_spaced(rest: str) -> list[Ambiguous]:
    """`1 234` with an ordinary space, where it opens a segment; further in two numbers stand beside
    each other."""
    first = ambiguous_numbers(rest, spaced=True)[:1]
    if first and rest[: first[0].start].strip(" $*:\t"):
        return []
    return first


def _unread_formula(text: str, start: int, end: int) -> _Span | None:
    r"""The formula (`$...$`, `\(...\)`) that opens a segment, where it is no plain number: all of
    it is the answer."""
    formula = _FORMULA.match(text, start, end)
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
    start = segment.start
    while (equals := text.find("=", start, segment.end)) >= 0:
        left = text[start:equals]
        is_first = start == segment.start
        if is_first and not _OPERATOR.search(left):
            break
        if not _OPERAND.fullmatch(left):
            break
        start = equals + 1
    return start


def _after_hashes(text: str) -> list[_Span]:
    """The rest of the line behind each `####`, but not where Markdown means a heading by it."""
    spans = []
    for match in re.finditer(r"#{4}(?!#)[ \t:*]*([^\n]*)", text):
        is_longer = text[match.start() - 1 : match.start()] == "#"
        if not is_longer and not _HEADING.match(match[1]):
            spans.append(_stripped(text, *match.span(1)))
    return spans


def _after_answer_is(text: str) -> list[_Span]:
    """The rest of the sentence behind each "answer is" or "answer:", up to the next of them."""
    markers = [match.span() for match in _ANSWER_IS.finditer(text)]
    spans = []
    for (_, start), (next_marker, _) in pairwise([*markers, (len(text), len(text))]):
        sentence_end = _SENTENCE_END.search(text, start, next_marker)
        end = sentence_end.start() if sentence_end else next_marker
        spans.append(_stripped(text, start, end))
    return spans


def _compare(extracted: str, gold: str) -> tuple[VerdictName, str]:
    """The verdict, and how the two were compared."""
    value = parse_value(extracted)
    gold_value = parse_value(gold)
    if value is not None and gold_value is not None:
        return "correct" if value.value == gold_value.value else "wrong", "number"
    if same_text(extracted, gold):
        return "correct", "text"
    if _is_choice(gold):
        return "wrong", "text"

    may_be = frozenset((value.value,)) if value else readings(extracted)
    gold_may_be = frozenset((gold_value.value,)) if gold_value else readings(gold)
    if may_be and gold_may_be:
        return "ambiguous" if may_be & gold_may_be else "wrong", "ambiguous_number"

    outcome = same_expression(gold, extracted)
    if outcome == "same":
        return "correct", "math_verify"
    if outcome == "different":
        return "wrong", "math_verify"
    return "wrong", f"text,{outcome}"


def _is_choice(gold: str) -> bool:
    return re.fullmatch(r"\(?[A-Z]\)?", gold.strip()) is not None


def _stripped(text: str, start: int, end: int) -> _Span:
    """The span without the white space and emphasis around it."""
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip(" \t\n\r*_"))
    last = start + len(inner.rstrip(" \t\n\r*_"))
    return _Span(first, max(first, last))


def _shifted(number: Number | Ambiguous, by: int) -> _Span:
    return _Span(number.start + by, number.end + by)
