"""Several decoders in two small tables: what each gains and loses, and how far it strays; as text
and as lines of comparison.csv."""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.store.counts import count_text
from ..quantity import Quantity
from ..shares import percent
from ..wording import error_of, plus_minus
from .columns import aligned
from .generations import Generations
from .methods import Method, setting_text
from .side_by_side import SETTINGS, SIZES, cell_of, csv_cells
from .standing import (
    ACCURACY,
    ACCURACY_CHANGE,
    DIVERGENCE,
    FORWARDS,
    MEAN_TOKENS_PER_FORWARD,
    NEVER_DIVERGED,
    NONE_DIVERGES,
    SAME_ANSWER,
    SAME_TEXT,
    TEXT_TOKENS_PER_FORWARD,
    TOKENS_PER_FORWARD,
    Standing,
)

TITLE = "Speed, accuracy and how far each run strays"
GAINS = ["run", "tokens/forward", "before EOS", "forwards", "accuracy", "change, points"]
STRAYS = ["run", "from", "same answer", "same text", "never diverged", "diverges at step"]
NOTE = (
    "tokens/forward: committed tokens of all problems / their forward passes (a guided step is "
    "two), all positions, and those before the end of the text",
    "change: paired with the run it is measured from, interval by Newcombe (1998, method 10); "
    "shares of problems with Wilson's 95 % interval, else value +- standard error",
    "diverges at step: first step that commits a token other than the one that finally stands "
    "there in the run it is measured from; median (quartiles) over the problems that diverge",
)
AUP_NOTE = (
    "AUP: area under accuracy (percent) over tokens per forward, weighted by exp(-3 (1 - accuracy "
    "/ best)); a point estimate without an error, comparable only within this table"
)


def tradeoff_text(rows: Sequence[Standing], all_methods: Sequence[Method]) -> str:
    """The tables, the accuracy under parallelism of each policy, and what a reader must know."""
    gains = [GAINS]
    strays = [STRAYS]
    for place, row in enumerate(rows):
        gains.append(_gains_of(row))
        if row.reference != place:
            strays.append(_strays_of(row, rows[row.reference].run.name))

    lines = [TITLE, "-" * len(TITLE), *aligned(gains), "", *aligned(strays), ""]
    for method in all_methods:
        lines.append(aup_text(method, rows))
    return "\n".join([*lines, *caveats(rows), *NOTE, AUP_NOTE]) + "\n"


def _gains_of(row: Standing) -> list[str]:
    quantities = row.quantities
    return [
        row.run.name,
        _number(quantities[TOKENS_PER_FORWARD], ".2f"),
        _number(quantities[TEXT_TOKENS_PER_FORWARD], ".2f"),
        _number(quantities[FORWARDS], ".1f", with_error=True),
        share_text(quantities[ACCURACY]),
        change_text(quantities[ACCURACY_CHANGE]) if row.strays is not None else "",
    ]


def _strays_of(row: Standing, reference: str) -> list[str]:
    quantities = row.quantities
    return [
        row.run.name,
        reference,
        share_text(quantities[SAME_ANSWER]),
        share_text(quantities[SAME_TEXT]),
        share_text(quantities[NEVER_DIVERGED]),
        divergence_text(quantities),
    ]


def _number(quantity: Quantity, form: str, *, with_error: bool = False) -> str:
    if not quantity.ok:
        return "undefined"
    error = plus_minus(error_of(quantity)) if with_error else ""
    return f"{float(quantity.values):{form}}{error}"


def share_text(quantity: Quantity) -> str:
    """A share in percent with its interval, or that it is undefined."""
    if not quantity.ok or quantity.interval is None:
        return "undefined"
    low, high = quantity.interval
    return percent(float(quantity.values), float(low), float(high))


def change_text(quantity: Quantity) -> str:
    """A difference in percentage points with its interval, or that it is undefined."""
    if not quantity.ok or quantity.interval is None:
        return "undefined"
    low, high = (100 * float(end) for end in quantity.interval)
    return f"{100 * float(quantity.values):+.1f} ({low:+.1f} to {high:+.1f})"


def divergence_text(quantities: dict[str, Quantity]) -> str:
    """ "12 (7 to 20)": median and quartiles of the first step of divergence; "never" where no
    problem diverges."""
    lower, median, upper = (quantities[name] for name in DIVERGENCE.values())
    if not median.ok:
        return "never" if _reason(median) == NONE_DIVERGES else "undefined"
    steps = [float(quantity.values) for quantity in (median, lower, upper)]
    return f"{steps[0]:.0f} ({steps[1]:.0f} to {steps[2]:.0f})"


def aup_text(method: Method, rows: Sequence[Standing]) -> str:
    """One sentence: the accuracy under parallelism of a policy, or why it has none."""
    name = f"AUP of {method.policy or 'runs without a policy'}"
    if not method.aup.ok:
        return f"{name}: undefined, {method.aup.status.partition(': ')[2]}"
    without = ""
    if method.dropped:
        names = ", ".join(rows[place].run.name for place in method.dropped)
        without = f"; left out, more than 5 points below the slowest: {names}"
    slowest = rows[method.reference].run.name
    through = f"{method.aup.n} points, {slowest} among them"
    if method.aup.n == 1:
        through = f"{slowest} alone"
    return f"{name}: {float(method.aup.values):.1f} {method.aup.units}, through {through}{without}"


def caveats(rows: Sequence[Standing]) -> list[str]:
    """What has to be known to read the tables: references that are not exact, problems that are
    not shared, unfinished runs, and whatever could not be compared."""
    sentences = []
    for reference in dict.fromkeys(row.reference for row in rows):
        sentences += _about_reference(rows[reference].run)
    for row in rows:
        sentences += _about_row(row, rows[row.reference].run)
    return sentences


def _about_reference(run: Generations) -> list[str]:
    sentences = []
    most = run.most_at_once
    if most > 1:
        sentences.append(
            f"{run.name} is no decoding of one token a step: a step of it commits up to {most}; "
            "the others are measured from it all the same"
        )
    temperature = run.config.get("temperature") or 0
    if temperature:
        sentences.append(
            f"{run.name} was sampled at temperature {temperature:g}: what differs from it is noise "
            "as well as straying"
        )
    return sentences


def _about_row(row: Standing, reference: Generations) -> list[str]:
    run = row.run
    sentences = []
    if run.unfinished:
        sentences.append(f"{run.name}: {run.unfinished}")
    for quantity in row.quantities.values():
        if quantity.label.endswith("before the end of the text") and not quantity.ok:
            sentences.append(f"{run.name}: before EOS is undefined, {_reason(quantity)}")
    if row.strays is None:
        return sentences

    shared = len(row.strays.rows)
    if shared < max(len(run.keys), len(reference.keys)):
        other = ""
        if row.strays.other_content:
            other = f"; {row.strays.other_content} with one id but another text"
        sentences.append(
            f"{run.name} and {reference.name} share {count_text(shared, 'problem')}, of "
            f"{len(run.keys)} and {len(reference.keys)}{other}"
        )
    if row.strays.undefined:
        sentences.append(f"divergence is undefined: {row.strays.undefined}")
    return sentences


def _reason(quantity: Quantity) -> str:
    return quantity.status.partition(": ")[2]


CSV_NUMBERS = (
    TOKENS_PER_FORWARD,
    TEXT_TOKENS_PER_FORWARD,
    MEAN_TOKENS_PER_FORWARD,
    FORWARDS,
    ACCURACY_CHANGE,
    SAME_ANSWER,
    SAME_TEXT,
    NEVER_DIVERGED,
    *DIVERGENCE.values(),
)
"""What comparison.csv has of each run."""


def tradeoff_lines(
    rows: Sequence[Standing], all_methods: Sequence[Method], *, with_accuracy: bool
) -> list[list[object]]:
    """The same as lines of comparison.csv, and one for the AUP of each policy, whose `run` is
    empty. `with_accuracy`: where no analysis brings the accuracies."""
    names = (ACCURACY, *CSV_NUMBERS) if with_accuracy else CSV_NUMBERS
    settings = {}
    for method in all_methods:
        for place in method.places:
            if place != method.reference:
                settings[place] = setting_text(rows[place], method)

    lines = []
    for place, row in enumerate(rows):
        reference = "" if row.strays is None else rows[row.reference].run.name
        for name in names:
            if name in row.quantities:
                cells = csv_cells(name, cell_of(row.quantities[name]))
                end = [row.run.unfinished, settings.get(place, ""), reference]
                lines.append([row.run.name, *_settings_of(row.run), *cells, *end])
    for method in all_methods:
        cells = csv_cells("aup", cell_of(method.aup))
        blank = [""] * (len(SETTINGS) - 1 + len(SIZES))
        reference = rows[method.reference].run.name
        lines.append(["", method.policy, *blank, *cells, "", "", reference])
    return lines


def _settings_of(run: Generations) -> list[object]:
    return [run.config.get(name, "") for name in (*SETTINGS, *SIZES)]
