"""The sensitivity map as a picture: step and position of one problem, with its text under it, and
the mean over problems, by position and by distance to the answer.

Shapes: K steps, G positions, D distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store import open_run
from ...engine.store.counts import count_text
from ...engine.store.write.results import publish
from ..branching.branch_runs import read_branch_runs
from ..branching.effects import effects_of
from ..branching.sensitivity import EACH, SensitivityMap, sensitivity_maps
from ..errors import SettingError
from ..results import Analysis
from .figure import new_figure, png
from .plots import style
from .plots.text import plain
from .report_problems import token_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...engine.store import Run

NAME = "sensitivity.png"
SHOWN = (
    ("collateral", "other tokens that change"),
    ("direct", "the position itself ends with another token (share)"),
    ("answer_changed", "the answer changes (share)"),
)
MOST_LETTERS = 12
"""Of a token's text under the map."""

# inches
CELL = 0.27
WIDEST = 34.0
LEFT = 0.9
RIGHT = 1.15
ROW = 0.26
GAP = 0.62
TOP = 1.25
TEXT = 1.35


class Text(NamedTuple):
    """A problem that is shown by itself, at its `row` of the run: what stands under its map, the
    final `tokens` [G], and the `span` of its answer."""

    name: str
    row: int
    tokens: Sequence[str]
    span: tuple[int, int]


def draw_sensitivity(
    run_dir: str | Path,
    *,
    do: str | None = None,
    problem: str | None = None,
    out: str | Path | None = None,
) -> Path:
    """Write the picture of what was done at each position, as `sensitivity.png` in the run's folder
    unless `out` says otherwise.

    `do`: of which action, as `remask each`; the first that the run's branches have unless one is
    named. `problem`: which is shown by itself; the first that was branched unless one is named.

    Raises NotARun, DamagedRun, NotStored, OSError, SettingError where there is nothing to draw.
    """
    path = Path(run_dir)
    with open_run(path) as run:
        sensitivity = first_map(run, do)
        text = _text_of(run, sensitivity, problem)
        image = render(sensitivity, text)
    target = path / NAME if out is None else Path(out)
    publish(target, image)
    return target


def has_map(analysis: Analysis) -> bool:
    """Whether an analysis has effects of an action at each position, so that there is a map."""
    rows = analysis.info.get("interventions", [])
    return any(f" {EACH}" in row["intervention"] for row in rows)


def first_map(run: Run, do: str | None = None) -> SensitivityMap:
    """That of the first branch run that acted on each position, by the action `do` if one is named.
    Raises SettingError where none did, DamagedRun, NotStored."""
    opened = read_branch_runs(run)
    for branches in opened.runs:
        maps = sensitivity_maps(effects_of(run, branches)) if branches.ids else []
        for each in maps:
            if do in (None, each.text):
                return each
    asked = do or "remask each"
    raise SettingError(
        f"{run.path}: no finished branch has {asked!r} for its action at each position; make some "
        f"with `diffengine branch {run.path} --do {asked!r}`"
    )


def _text_of(run: Run, sensitivity: SensitivityMap, problem: str | None) -> Text:
    """The problem that is shown by itself."""
    values = sensitivity.of_decodings(SHOWN[0][0])
    branched = np.flatnonzero(np.isfinite(values).any(axis=(1, 2)))
    names = [run.ids[row] for row in branched]
    if problem is not None and problem not in names:
        raise SettingError(
            f"problem {problem!r} has no branches at each position; choose one of "
            f"{', '.join(names[:5])}"
        )
    name = names[0] if problem is None else problem
    row = run.row(name)
    tokens = token_texts(run, np.asarray(run["token"][row][-1]).tolist())
    start, end = sensitivity.effects.span[row]
    return Text(name, row, tokens, (int(start), int(end)))


def render(sensitivity: SensitivityMap, text: Text) -> bytes:
    """The picture as PNG bytes."""
    from matplotlib import rc_context

    with rc_context(style.RC):
        return png(lay_out(sensitivity, text))


def lay_out(sensitivity: SensitivityMap, text: Text) -> Figure:
    """The picture as a figure; call within `rc_context(style.RC)` for the house look."""
    positions = len(text.tokens)
    steps = len(sensitivity.steps)
    cell = min(CELL, (WIDEST - LEFT - RIGHT) / positions)
    width = max(11.0, LEFT + RIGHT + positions * cell)
    band = steps * ROW
    height = TOP + len(SHOWN) * (band + GAP) + TEXT + 2 * (band + GAP + 0.5) + 0.5
    figure = new_figure(width, height)
    places = _Places(figure, width, height)

    row = text.row
    _title(figure, sensitivity, text, height)
    top = TOP
    for number, (measure, label) in enumerate(SHOWN):
        ax = places.axes(top, band)
        image = _heat(ax, sensitivity.of_decodings(measure)[row], sensitivity.steps)
        ax.set_title(label, loc="left", fontsize=style.SMALL, color=style.INK)
        _mark_answer(ax, text.span)
        _bar(figure, places, image, top, band)
        if number + 1 == len(SHOWN):
            _write_text(ax, text)
        else:
            ax.set_xticks([])
        top += band + GAP

    top += TEXT
    _draw_means(figure, places, sensitivity, top, band)
    return figure


class _Places:
    """Axes by inches from the upper edge."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self._figure = figure
        self._width = width
        self._height = height

    def axes(self, top: float, height: float, *, left: float = LEFT, right: float = RIGHT) -> Axes:
        """Axes between these margins."""
        return self._figure.add_axes(
            (
                left / self._width,
                1 - (top + height) / self._height,
                (self._width - left - right) / self._width,
                height / self._height,
            )
        )

    @property
    def width(self) -> float:
        return self._width


def _title(figure: Figure, sensitivity: SensitivityMap, text: Text, height: float) -> None:
    left = LEFT / figure.get_figwidth()
    figure.text(
        left,
        1 - 0.3 / height,
        plain(f"What depends on each position: {sensitivity.text}"),
        fontsize=style.TITLE,
        fontweight="bold",
        va="top",
    )
    said = f"problem {text.name} · each cell: that position alone, at that step · grey: nothing to "
    figure.text(
        left,
        1 - 0.62 / height,
        plain(f"{said}be done there · box: the final answer"),
        fontsize=style.SMALL,
        color=style.QUIET,
        va="top",
    )


def _heat(ax: Axes, values: np.ndarray, steps: np.ndarray) -> Any:
    """One map [K, any], the first step on top."""
    from matplotlib import colormaps

    largest = np.nanmax(values) if np.isfinite(values).any() else 0.0
    image = ax.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap=colormaps[style.SCALE].with_extremes(bad=style.RULE),
        vmin=0.0,
        vmax=max(float(largest), 1.0),
    )
    ax.grid(visible=False)
    ax.set_yticks(range(len(steps)), [str(step) for step in steps])
    ax.set_ylabel("step")
    return image


def _bar(figure: Figure, places: _Places, image: Any, top: float, height: float) -> None:
    side = places.axes(top, height, left=places.width - RIGHT + 0.18, right=RIGHT - 0.36)
    bar = figure.colorbar(image, cax=side)
    bar.ax.grid(visible=False)
    bar.ax.tick_params(labelsize=style.SMALL)
    _, most = image.get_clim()
    bar.set_ticks([0, most] if most <= 1 else [0, int(most) // 2, int(most)])


def _mark_answer(ax: Axes, span: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    start, end = span
    if start < 0:
        return
    low, high = sorted(ax.get_ylim())
    ax.add_patch(
        Rectangle(
            (start - 0.5, low),
            end - start,
            high - low,
            fill=False,
            edgecolor=style.WRONG,
            linewidth=2.0,
            clip_on=False,
        )
    )


def _write_text(ax: Axes, text: Text) -> None:
    """The final tokens under their positions, those of the answer set apart."""
    shown = [_visible(token) for token in text.tokens]
    ax.set_xticks(range(len(shown)), shown, rotation=90, family="DejaVu Sans Mono")
    ax.tick_params(axis="x", length=0, labelsize=style.SMALL)
    start, end = text.span
    for position, label in enumerate(ax.get_xticklabels()):
        label.set_parse_math(False)
        if start <= position < end:
            label.set_color(style.WRONG)
            label.set_fontweight("bold")


def _visible(token: str) -> str:
    """A token's text in which spaces and line ends can be seen."""
    text = token.replace("\n", "\u21b5").replace(" ", "\u00b7")
    text = plain(text)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}\u2026"


def _draw_means(
    figure: Figure, places: _Places, sensitivity: SensitivityMap, top: float, band: float
) -> None:
    """Means over problems of the first measure: by position, and by distance to the answer."""
    measure, label = SHOWN[0]
    found = sensitivity.mean(measure)
    ax = places.axes(top, band)
    image = _heat(ax, found.mean, sensitivity.steps)
    most = int(found.n.max(initial=0))
    ax.set_title(
        f"{label}, mean over up to {count_text(most, 'problem')}, by position",
        loc="left",
        fontsize=style.SMALL,
    )
    ax.set_xlabel("position")
    _bar(figure, places, image, top, band)

    top += band + GAP + 0.5
    distances = sensitivity.by_distance(measure)
    known = np.flatnonzero(distances.n.any(axis=0))
    ax = places.axes(top, band)
    if not known.size:
        ax.set_axis_off()
        ax.text(0, 0.5, "no problem with an answer", transform=ax.transAxes)
        return
    shown = slice(int(known[0]), int(known[-1]) + 1)
    image = _heat(ax, distances.mean[:, shown], sensitivity.steps)
    _bar(figure, places, image, top, band)
    ax.set_title(
        f"{label}, mean over problems, by distance to the answer", loc="left", fontsize=style.SMALL
    )
    ax.set_xlabel("positions behind the answer (0: in it; negative: before it)")
    at = distances.distance[shown]
    ticks = [place for place, distance in enumerate(at.tolist()) if distance % 8 == 0]
    ax.set_xticks(ticks, [str(at[place]) for place in ticks])
