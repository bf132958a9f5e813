"""The summary's key insights: plain sentences computed from the quantities."""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text, decodings_text
from ..limits import MIN_CLASS, UNDEFINED
from ..results import Analysis
from ..wording import plus_minus, value_text
from .summary_curves import spike_count
from .values import Course, count, course_of, is_of_blocks, method_of, spike_rule, steps_shown

DIFFERS = 1.96
"""Standard errors by which two values must differ to be called different."""


def key_insights(analysis: Analysis) -> list[str]:
    """Sentences about accuracy, confidence, entropy, spikes and stability; those that the data do
    not allow are left out."""
    sentences = [
        _accuracy(analysis),
        _confidence(analysis),
        _emergence(analysis),
        _separation(analysis),
        _movement(analysis, "entropy/all", "The entropy over all positions"),
        _spikes(analysis),
        _movement(analysis, "cka/consecutive", "The CKA with the step before"),
    ]
    return [sentence for sentence in sentences if sentence]


def _accuracy(analysis: Analysis) -> str:
    accuracy = analysis["accuracy"]
    if not accuracy.ok:
        return ""
    info = analysis.info
    low, high = info["accuracy_interval"]
    lost = ""
    if info["n_unextracted"]:
        lost = f"; {info['n_unextracted']} gave no answer that could be read"
    problems = int(accuracy.n)
    answered = count_text(problems, "problem")
    if "n_samples" in info:
        graded = info["n_samples"] - info["n_no_gold"]
        answered = decodings_text(graded, "sample", problems)
    return (
        f"The model answered {info['n_correct']} of {answered} correctly "
        f"({100 * low:.0f} to {100 * high:.0f} % with 95 % confidence){lost}."
    )


def _confidence(analysis: Analysis) -> str:
    method = method_of(analysis)
    confidence = analysis[f"confidence/{method}"]
    course = course_of(analysis, f"confidence/{method}")
    if not confidence.ok or course is None:
        return f"The confidence in the gold answer could not be measured ({confidence.status})."
    curve = analysis.s_curve
    middle = ""
    if curve.verdict == "s-curve":
        middle = f"; the logistic fit has its midpoint at step {curve.midpoint:.0f}"
    shape = f"its shape is judged: {curve.verdict}{middle}"
    if curve.reason.startswith(UNDEFINED):
        shape = "its shape over steps is undefined"
    return (
        f"The confidence in the gold answer ({method}) {_verb(course)} from {course.first:.2f} "
        f"to {course.last:.2f} {confidence.units} (n = {course.n}); {shape}."
    )


def _emergence(analysis: Analysis) -> str:
    names = ("emergence/stable_hit_by_50", "emergence/ever_pass")
    if any(name not in analysis or not analysis[name].ok for name in names):
        return ""
    stable, ever = (analysis[name] for name in names)
    return (
        f"By half of their steps {value_text(stable)} of the problems have the gold answer for "
        f"good, at some step {value_text(ever)}, in the end {value_text(analysis['accuracy'])} "
        f"(n = {stable.n})."
    )


def _separation(analysis: Analysis) -> str:
    """The step from which correct and wrong problems differ by more than 1.96 SE; empty where a
    class is small."""
    correct = analysis["confidence_correct/answer_slot"]
    wrong = analysis["confidence_wrong/answer_slot"]
    if min(count(correct), count(wrong)) < MIN_CLASS:
        return ""
    if correct.stderr is None or wrong.stderr is None:
        return ""

    difference = correct.values - wrong.values
    apart = np.abs(difference) > DIFFERS * np.hypot(correct.stderr, wrong.stderr)
    lasting = np.flatnonzero(apart & ~_later_together(apart, difference))
    of_n = f"n = {count(correct)} and {count(wrong)}"
    if not len(lasting):
        return (
            "Correct and wrong problems do not differ lastingly in answer_slot confidence "
            f"({DIFFERS:g} SE; {of_n})."
        )
    return (
        f"From step {lasting[0]} of {steps_shown(analysis)} on, correct and wrong problems differ "
        f"in answer_slot confidence at every step ({DIFFERS:g} SE, each step by itself; {of_n})."
    )


def _later_together(apart: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """[step] whether any later step with a value is not `apart`."""
    together = ~apart & np.isfinite(difference)
    return np.flip(np.logical_or.accumulate(np.flip(together)))


def _movement(analysis: Analysis, name: str, subject: str) -> str:
    quantity = analysis[name]
    course = course_of(analysis, name)
    if not quantity.ok or course is None or is_of_blocks(analysis):
        return ""  # block by block the first step and the last are of other positions
    unit = "" if quantity.units == "1" else f" {quantity.units}"
    return (
        f"{subject} {_verb(course)} from {course.first:.3g} to {course.last:.3g}{unit} (n = "
        f"{course.n})."
    )


def _spikes(analysis: Analysis) -> str:
    rule = spike_rule(analysis)
    spikes = analysis.spikes[rule]
    if analysis.info["spike_status"][rule] != "ok":
        return f"Spikes: {analysis.info['spike_status'][rule]}."
    if not spikes:
        return f"No step gains more confidence than rule {rule} demands."
    largest = max(spikes, key=lambda spike: spike.gain)
    units = analysis[f"confidence/{method_of(analysis)}"].units
    return (
        f"Rule {rule} marks {spike_count(analysis)}; the largest is "
        f"{largest.gain:+.3f}{plus_minus(largest.stderr, '.3f')} {units} at step {largest.step}."
    )


def _verb(course: Course) -> str:
    """Direction of the change from first to last step; a difference within 1.96 SE has none."""
    moved = course.last - course.first
    if not abs(moved) > DIFFERS * course.change_error:
        return "shows no clear change,"
    return "rises" if moved > 0 else "falls"
