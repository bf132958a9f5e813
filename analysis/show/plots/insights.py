"""Key insights: the verdicts of the analysis in sentences, each with its evidence. Decides nothing
itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ...results import Analysis, Pattern
from . import style
from .frame import clear, heading
from .panel import Panel
from .text import figure_of, plain, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Key insights"
SIGNS = "✔ healthy sign   ✘ problematic sign   ? no verdict from these data"
REST = "… the rest stands in analysis_summary.txt"
COLUMNS = 2
SIZES = (style.BODY + 1, style.BODY, style.SMALL, 10.0, 9.0)  # the largest that fits is taken
PITCH = 1.5  # line height in font sizes


class Sign(NamedTuple):
    """The mark before a statement, and its colour."""

    mark: str
    colour: str


GOOD = Sign("✔", style.COMMITTED)
BAD = Sign("✘", style.WRONG)
OPEN = Sign("?", style.QUIET)
WARNING = Sign("!", style.EXTRA)


class Insight(NamedTuple):
    """One statement: its sign, what is claimed, and on what evidence."""

    sign: Sign
    claim: str
    evidence: str


class Line(NamedTuple):
    """One printed line; only the first of a claim has a sign."""

    text: str
    bold: bool
    sign: Sign | None = None


def draw(ax: Axes, analysis: Analysis) -> None:
    """S-curve verdict, the original suite's healthy and problematic signs, and the warnings, as a
    list that fits the axes."""
    clear(ax)
    heading(ax, TITLE, SIGNS)
    statements = list(insights(analysis))
    for size in SIZES:
        blocks = [_lines(ax, statement, size) for statement in statements]
        columns = _columns(blocks, _room(ax, size))
        if len(columns) <= COLUMNS:
            break

    for index, lines in enumerate(columns[:COLUMNS]):
        _write(ax, lines, size, left=index / COLUMNS)
    if len(columns) > COLUMNS:
        _say_rest(ax, size)


def insights(analysis: Analysis) -> Iterator[Insight]:
    """Every statement of the analysis, most important first."""
    curve = analysis.s_curve
    shape = f"Shape of the confidence curve: {curve.verdict}"
    yield Insight(_sign_of_curve(curve.verdict), shape, curve.reason)
    for pattern in analysis.patterns:
        name = f"{pattern.name[:1].upper()}{pattern.name[1:]}"
        verdict, _, reason = pattern.verdict.partition(":")
        evidence = [part for part in (pattern.evidence, reason.strip()) if part]
        yield Insight(_sign(pattern), f"{name}: {verdict}", "; ".join(evidence))
    for warning in analysis.info.get("warnings", ()):
        yield Insight(WARNING, "Warning", str(warning))


def _sign(pattern: Pattern) -> Sign:
    if pattern.verdict not in ("seen", "not seen"):
        return OPEN
    return GOOD if (pattern.verdict == "seen") == (pattern.kind == "healthy") else BAD


def _sign_of_curve(verdict: str) -> Sign:
    words = verdict.lower()
    if words.startswith(("insufficient", "no verdict", "undecided")):
        return OPEN
    return BAD if words.startswith(("no", "not")) else GOOD


def _room(ax: Axes, size: float) -> int:
    """How many lines of that size the axes hold."""
    height = ax.get_window_extent().height / figure_of(ax).dpi * 72  # points
    return max(int(height / (size * PITCH)), 2)


def _lines(ax: Axes, insight: Insight, size: float) -> list[Line]:
    share = 0.9 / COLUMNS
    claim = wrap(ax, plain(insight.claim), size, weight="bold", share=share)
    lines = [Line(claim[0], True, insight.sign)]
    lines += [Line(text, True) for text in claim[1:]]
    if insight.evidence:
        lines += [
            Line(text, False) for text in wrap(ax, plain(insight.evidence), size, share=share)
        ]
    return lines


def _columns(blocks: list[list[Line]], room: int) -> list[list[Line]]:
    """Whole insights dealt out to columns of at most `room` lines, the first column filled
    first."""
    columns: list[list[Line]] = [[]]
    for block in blocks:
        if columns[-1] and len(columns[-1]) + len(block) > room:
            columns.append([])
        columns[-1].extend(block)
    return columns


def _write(ax: Axes, lines: list[Line], size: float, *, left: float) -> None:
    for index, line in enumerate(lines):
        y = -(index + 0.2) * size * PITCH
        if line.sign is not None:
            _put(ax, line.sign.mark, left, (0.0, y), size, line.sign.colour, bold=True)
        colour = style.INK if line.bold else style.QUIET
        _put(ax, line.text, left, (1.9 * size, y), size, colour, bold=line.bold)


def _put(
    ax: Axes,
    text: str,
    left: float,
    offset: tuple[float, float],
    size: float,
    colour: str,
    *,
    bold: bool,
) -> None:
    """Write `text` at `offset` points from the upper edge, `left` of the width to the right."""
    if text:
        ax.annotate(
            text,
            (left, 1),
            offset,
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=size,
            color=colour,
            fontweight="bold" if bold else "normal",
            va="top",
            parse_math=False,
            annotation_clip=False,
        )


def _say_rest(ax: Axes, size: float) -> None:
    ax.annotate(
        REST,
        (1, 0),
        (0, -size),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        color=style.QUIET,
        ha="right",
        va="top",
        annotation_clip=False,
    )


PANEL = Panel(TITLE, draw, width=2, height=1.15)
