"""The picture of a trade: what it says, that labels hide nothing, and that it is drawn whatever the
runs lack."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared_runs import generations, one_a_step
from matplotlib import rc_context
from matplotlib.text import Text

from diffengine.analysis.compare.methods import methods
from diffengine.analysis.compare.standing import Standing, standings
from diffengine.analysis.show.plots import style
from diffengine.analysis.show.tradeoff import draw_tradeoff, lay_out_tradeoff, place_of, summary

N = 40


def rows_of(*others: tuple[str, int, int, float]) -> list[Standing]:
    """An exact run with 38 of 40 right, and (policy, right, passes, threshold) each."""
    tokens = [[1, 2, 3, 4, 5, 6, 7, 8]] * N
    runs = [one_a_step(tokens, verdict=[1] * 38 + [0] * 2)]
    for policy, right, passes, threshold in others:
        steps = [[min(position, passes - 1) for position in range(8)]] * N
        verdict = [1] * right + [0] * (N - right)
        run = generations(
            f"{policy}-{threshold}",
            tokens,
            steps,
            verdict=verdict,
            policy=policy,
            threshold=threshold,
        )
        runs.append(run)
    return standings(runs)


def overlaps(figure: object) -> list[tuple[str, str]]:
    """Pairs of labels whose boxes share pixels."""
    (ax,) = figure.axes
    renderer = figure.canvas.get_renderer()
    labels = [text for text in ax.texts if text.get_gid() == "point label"]
    boxes = [(label.get_text(), Text.get_window_extent(label, renderer)) for label in labels]
    pairs = []
    for place, (name, box) in enumerate(boxes):
        for other, other_box in boxes[place + 1 :]:
            if box.overlaps(other_box):
                pairs.append((name, other))
    return pairs


def test_the_fastest_run_without_a_loss_is_named() -> None:
    rows = rows_of(("threshold", 38, 4, 0.9), ("threshold", 37, 2, 0.8), ("threshold", 9, 1, 0.5))
    finding, detail = summary(rows, methods(rows))
    assert finding.startswith("threshold 0.8: 4.0 tokens a pass, accuracy -2.5 (")
    assert "against exact" in detail and "40 problems" in detail


def test_where_all_lose_it_says_so() -> None:
    rows = rows_of(("threshold", 10, 2, 0.5))
    assert summary(rows, methods(rows))[0] == "Every other run has lost accuracy"
    alone = rows_of()
    assert summary(alone, methods(alone))[0] == "Accuracy over tokens per forward pass"


def test_a_point_stands_where_its_numbers_are() -> None:
    place = place_of(rows_of(("threshold", 30, 2, 0.5))[1])
    assert place is not None
    assert (place.x, place.y) == (4.0, 75.0)
    assert place.low < 75 < place.high


@pytest.mark.parametrize("n_policies", [1, 3, 7])
def test_no_label_lies_on_another(n_policies: int) -> None:
    """Points of several policies on nearly one spot."""
    others = []
    for policy in range(n_policies):
        for number, threshold in enumerate((0.95, 0.9, 0.8)):
            others.append((f"policy{policy}", 37 - number, 7 - number, threshold))
    rows = rows_of(*others)
    with rc_context(style.RC):
        figure = lay_out_tradeoff(rows, methods(rows))
        assert overlaps(figure) == []
        (ax,) = figure.axes
        frame = ax.get_window_extent()
        renderer = figure.canvas.get_renderer()
        for label in ax.texts:
            if label.get_gid() == "point label":
                box = Text.get_window_extent(label, renderer)
                assert frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_it_is_drawn_without_a_graded_problem(tmp_path: Path) -> None:
    exact = one_a_step([[1]], verdict=[3])
    fast = generations("fast", [[1]], [[0]], verdict=[3])
    rows = standings([exact, fast])
    path = draw_tradeoff(rows, methods(rows), tmp_path / "tradeoff.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_names_from_outside_are_harmless(tmp_path: Path) -> None:
    rows = rows_of(("$x^$", 37, 2, 0.5))
    assert draw_tradeoff(rows, methods(rows), tmp_path / "tradeoff.png").stat().st_size > 5000
