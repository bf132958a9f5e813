"""The picture of a sensitivity map: every part has its own room, and what is shown is the map."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context

from diffengine.analysis.branching.effects import Apart, Effects
from diffengine.analysis.branching.sensitivity import SensitivityMap, sensitivity_maps
from diffengine.analysis.show.plots import style
from diffengine.analysis.show.sensitivity import Text, lay_out, render

STEPS = [4, 12, 20, 28]


def a_map(positions: int, problems: int = 30, *, span: tuple[int, int] = (3, 5)) -> SensitivityMap:
    """Every position that is before the step is acted on; what follows it changes."""
    rng = np.random.default_rng(0)
    cells = []
    for row, step in itertools.product(range(problems), STEPS):
        cells += [(row, step, 1 + p) for p in range(min(step, positions))]
    row, step, intervention = np.array(cells).T
    changed = np.zeros((len(cells), positions), bool)
    for number, (_, _, number_of) in enumerate(cells):
        changed[number, number_of:] = rng.random(positions - number_of) < 0.3
    acted = np.zeros_like(changed)
    acted[np.arange(len(cells)), intervention - 1] = True
    effects = Effects(
        texts=["nothing", *[f"remask {p}" for p in range(positions)]],
        groups=np.array([str(n) for n in range(problems)], object),
        row=row,
        step=step,
        intervention=intervention,
        branch=np.zeros(len(cells), int),
        changed=changed,
        acted=acted,
        answer_changed=changed[:, slice(*span)].any(axis=1).astype(float),
        correctness=np.zeros(len(cells)),
        gold_logprob=np.full(len(cells), np.nan),
        span=np.tile(span, (problems, 1)),
        apart=Apart(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0)),
    )
    (only,) = sensitivity_maps(effects)
    return only


def text_of(positions: int, span: tuple[int, int] = (3, 5)) -> Text:
    tokens = ["\n", " the", "$x_1$", "longer than a dozen", "#17", ""]
    return Text("p#1", 2, [tokens[p % len(tokens)] for p in range(positions)], span)


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Pairs of axes, labels and headings included, that share room."""
    renderer = figure.canvas.get_renderer()
    boxes = []
    for ax in figure.axes:
        boxes.append((ax.get_title(loc="left") or "bar", ax.get_tightbbox(renderer)))
    boxes += [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    found = []
    for (name, box), (other, theirs) in itertools.combinations(boxes, 2):
        wide = min(box.x1, theirs.x1) - max(box.x0, theirs.x0)
        high = min(box.y1, theirs.y1) - max(box.y0, theirs.y0)
        if wide > 1 and high > 1:
            found.append((name, other))
    return found


@pytest.mark.parametrize("positions", [6, 48, 128])
def test_nothing_stands_over_something_else(positions: int) -> None:
    with rc_context(style.RC):
        figure = lay_out(a_map(positions), text_of(positions))
        assert overlaps(figure) == []
        edges = figure.bbox
        for text in figure.texts:
            box = text.get_window_extent(figure.canvas.get_renderer())
            assert edges.x0 <= box.x0 and box.x1 <= edges.x1


def test_the_maps_are_those_of_the_problem_and_the_means() -> None:
    sensitivity = a_map(48)
    with rc_context(style.RC):
        figure = lay_out(sensitivity, text_of(48))
    maps = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    for shown, measure in zip(maps, ("collateral", "direct", "answer_changed"), strict=False):
        expected = sensitivity.of_decodings(measure)[2]
        assert np.array_equal(shown.filled(np.nan), expected, equal_nan=True)
    mean = sensitivity.mean("collateral").mean
    assert np.array_equal(maps[3].filled(np.nan), mean, equal_nan=True)


def test_a_problem_without_an_answer_has_no_box_and_no_distances() -> None:
    with rc_context(style.RC):
        figure = lay_out(a_map(12, span=(-1, -1)), text_of(12, (-1, -1)))
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "no problem with an answer" in words
    assert not any(ax.patches for ax in figure.axes[:1])


def test_it_is_a_picture() -> None:
    assert render(a_map(12), text_of(12)).startswith(b"\x89PNG")
