"""The sensitivity map against loops over its cells."""

from __future__ import annotations

import numpy as np
import pytest

from diffengine.analysis.branching.effects import Apart, Effects
from diffengine.analysis.branching.sensitivity import SensitivityMap, sensitivity_maps

G = 5
STEPS = (2, 4, 7)
N = 12
TEXTS = [
    "nothing",
    "remask answer",
    *[f"remask {p}" for p in range(G)],
    *[f'remask {p}; force {p} "7 {p}"' for p in range(G)],
    "resample 3",
]


def effects(texts: list[str] = TEXTS) -> Effects:
    """Random effects: two decodings to a problem, two branches of each, not all cells there."""
    rng = np.random.default_rng(1)
    cells = []
    for row in range(N):
        for step in STEPS:
            for number in range(1, len(texts)):
                for branch in range(2):
                    if rng.random() < 0.7:
                        cells.append((row, step, number, branch))
    row, step, intervention, branch = np.array(cells).T
    changed = rng.random((len(cells), G)) < 0.5
    acted = np.zeros((len(cells), G), bool)
    span = np.array([[1 + n % 3, 2 + n % 3 + n % 2] for n in range(N)])
    span[5] = -1
    return Effects(
        texts=texts,
        groups=np.array([str(n // 2) for n in range(N)], object),
        row=row,
        step=step,
        intervention=intervention,
        branch=branch,
        changed=changed,
        acted=acted,
        answer_changed=rng.integers(0, 2, len(cells)).astype(float),
        correctness=rng.integers(-1, 2, len(cells)).astype(float),
        gold_logprob=np.full(len(cells), np.nan),
        span=span,
        apart=Apart(*(np.zeros(0, int) for _ in range(2)), np.zeros(0), np.zeros(0)),
    )


def cell(found: Effects, row: int, step: int, number: int) -> float:
    chosen = (found.row == row) & (found.step == step) & (found.intervention == number)
    return float(found.total[chosen].mean()) if chosen.any() else np.nan


def test_one_map_for_every_action_at_each_position() -> None:
    maps = sensitivity_maps(effects())
    # each force has a text of its own, so that it is not one action at every position
    assert [each.text for each in maps] == ["remask each"]
    assert maps[0].numbers.tolist() == [2, 3, 4, 5, 6]


def test_an_action_at_some_positions_is_no_map() -> None:
    assert sensitivity_maps(effects(["nothing", "remask 0", "remask 1", "remask 2:4"])) == []
    assert sensitivity_maps(effects(["nothing", "remask 0:5"])) == []


def test_joined_actions_at_each_position_are_one_map() -> None:
    texts = ["nothing", *[f'remask {p}; force {p} "7"; remask least 1' for p in range(G)]]
    (only,) = sensitivity_maps(effects(texts))
    assert only.text == 'remask each; force each "7"; remask least 1'
    assert only.numbers.tolist() == [1, 2, 3, 4, 5]


@pytest.fixture
def map_and_effects() -> tuple[SensitivityMap, Effects]:
    found = effects()
    return sensitivity_maps(found)[0], found


def test_cells_of_a_decoding(map_and_effects: tuple[SensitivityMap, Effects]) -> None:
    sensitivity, found = map_and_effects
    values = sensitivity.of_decodings("total")
    assert values.shape == (N, 3, G)
    for row in range(N):
        for place, step in enumerate(STEPS):
            for position in range(G):
                expected = cell(found, row, step, 2 + position)
                assert values[row, place, position] == pytest.approx(expected, nan_ok=True)


def test_means_over_problems(map_and_effects: tuple[SensitivityMap, Effects]) -> None:
    sensitivity, _ = map_and_effects
    values = sensitivity.of_decodings("total")
    pairs = np.nanmean(values.reshape(N // 2, 2, 3, G), axis=1)
    found = sensitivity.mean("total")
    assert np.allclose(found.mean, np.nanmean(pairs, axis=0))
    assert np.array_equal(found.n, np.isfinite(pairs).sum(axis=0))


def test_positions_by_their_distance_to_the_answer(
    map_and_effects: tuple[SensitivityMap, Effects],
) -> None:
    sensitivity, found = map_and_effects
    values = sensitivity.of_decodings("total")
    result = sensitivity.by_distance("total")
    assert result.distance.tolist() == list(range(1 - G, G))
    for place in range(3):
        for index, distance in enumerate(result.distance.tolist()):
            of_problem: dict[str, list[float]] = {}
            for row in range(N):
                start, end = found.span[row]
                there = [
                    p
                    for p in range(G)
                    if start >= 0
                    and (p - start if p < start else 0 if p < end else p - end + 1) == distance
                ]
                seen = [values[row, place, p] for p in there]
                seen = [value for value in seen if np.isfinite(value)]
                if seen:
                    of_problem.setdefault(str(found.groups[row]), []).append(float(np.mean(seen)))
            means = [np.mean(each) for each in of_problem.values()]
            expected = np.mean(means) if means else np.nan
            assert result.mean[place, index] == pytest.approx(expected, nan_ok=True)
            assert result.n[place, index] == len(means)
