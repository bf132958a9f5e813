"""Key insights: the verdicts of the analysis in sentences, each with its evidence. Decides nothing
itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ...results import Analysis, Pattern
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD = ("✔", style.COMMITTED)
BAD = ("✘", style.WRONG)
OPEN = ("?", style.QUIET)


COLUMNS = 2
PITCH = 1.5  # line height in font sizes


class Line(NamedTuple):
    """One printed line; `sign` is empty on continuation lines."""

    sign: str
    text: str
    colour: str
    bold: bool


class Insight(NamedTuple):
    """One line: its sign and colour, what is claimed, and on what evidence."""

    sign: str
    colour: str
    claim: str
    evidence: str


def draw_insights(ax: Axes, analysis: Analysis) -> None:
    """S-curve verdict, the seed's healthy and problematic signs, and the warnings, as a list that
    fits the axes."""
    style.clear(ax)
    style.heading(
        ax, "Key insights", "✔ healthy sign   ✘ problematic sign   ? no verdict from these data"
    )
    found = list(insights(analysis))
    for size in (style.BODY + 1, style.BODY, style.SMALL, 10.0, 9.0):
        columns = _columns([list(_lines(ax, insight, size)) for insight in found], _room(ax, size))
        if len(columns) <= COLUMNS:
            break
    left_out = len(columns) > COLUMNS
    for index, lines in enumerate(columns[:COLUMNS]):
        _write(ax, lines, size, left=index / COLUMNS)
    if left_out:
        ax.annotate(
            "… the rest stands in analysis_summary.txt",
            (1, 0),
            (0, -size),
            xycoords="axes fraction",
            ha="right",
            va="top",
            textcoords="offset points",
            fontsize=size,
            color=style.QUIET,
            annotation_clip=False,
        )


def insights(analysis: Analysis) -> Iterator[Insight]:
    """Every statement of the analysis, most important first."""
    curve = analysis.s_curve
    yield Insight(
        *_sign_of_curve(curve.verdict),
        f"Shape of the confidence curve: {curve.verdict}",
        curve.reason,
    )
    for pattern in analysis.patterns:
        yield Insight(
            *_sign(pattern),
            f"{pattern.name[:1].upper()}{pattern.name[1:]}: {pattern.verdict.partition(':')[0]}",
            _evidence(pattern),
        )
    for warning in analysis.info.get("warnings", ()):
        yield Insight("!", style.EXTRA, "Warning", str(warning))


def _sign(pattern: Pattern) -> tuple[str, str]:
    if pattern.verdict not in ("seen", "not seen"):
        return OPEN
    return GOOD if (pattern.verdict == "seen") == (pattern.kind == "healthy") else BAD


def _sign_of_curve(verdict: str) -> tuple[str, str]:
    words = verdict.lower()
    if words.startswith(("insufficient", "no verdict", "undecided")):
        return OPEN
    return BAD if words.startswith(("no", "not")) else GOOD


def _evidence(pattern: Pattern) -> str:
    reason = pattern.verdict.partition(":")[2].strip()
    return "; ".join(part for part in (pattern.evidence, reason) if part)


def _room(ax: Axes, size: float) -> int:
    height = ax.get_window_extent().height / style.figure_of(ax).dpi * 72  # points
    return max(int(height / (size * PITCH)), 2)


def _lines(ax: Axes, insight: Insight, size: float) -> Iterator[Line]:
    share = 0.9 / COLUMNS
    for index, part in enumerate(
        style.wrap(ax, style.plain(insight.claim), size, weight="bold", share=share)
    ):
        yield Line(insight.sign if index == 0 else "", part, insight.colour, True)
    for part in (
        style.wrap(ax, style.plain(insight.evidence), size, share=share) if insight.evidence else ()
    ):
        yield Line("", part, style.QUIET, False)


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
        weight = "bold" if line.bold else "normal"
        words = (
            (0.0, line.sign, line.colour, "bold"),
            (1.9 * size, line.text, style.INK if line.bold else style.QUIET, weight),
        )
        for x, string, shade, heavy in words:
            if string:
                ax.annotate(
                    string,
                    (left, 1),
                    (x, -(index + 0.2) * size * PITCH),
                    xycoords="axes fraction",
                    fontsize=size,
                    textcoords="offset points",
                    color=shade,
                    fontweight=heavy,
                    va="top",
                    parse_math=False,
                    annotation_clip=False,
                )
