"""Problems are decoded in an order that knows nothing of their length, so a run cut short is a fair
sample.

Acceptance: wherever a run is cut, the interval of its accuracy covers the whole's in the nominal
share of seeds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from diffengine.analysis.shares import wilson
from diffengine.engine.decoding.canvas import Canvas, Room, RowFormat, Schedule, capacity_for
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.phases import Phases
from diffengine.engine.decoding.policy import Update
from diffengine.engine.decoding.row import Row
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.cluster.batches import batches_of
from diffengine.engine.runs.device import by_length, in_drawing_order
from diffengine.engine.runs.run import Execution, run
from diffengine.engine.store import coverage, open_run
from diffengine.engine.store.drawing import draw_key

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4}
BY_QUARTILE = (0.975, 0.883, 0.854, 0.771)
"""Accuracy by quartile of prompt length that the bundled model has on generated problems."""
N, SEEDS = 400, 400
CUTS = (12, 60, 130, 200, 280, 360)


def prompt(name: str, length: int) -> Prompt:
    return Prompt(Problem(name, "", "1"), 0, 0, (1,) * length, ())


def finished_order(
    prompts: list[Prompt], budget: int, monkeypatch: pytest.MonkeyPatch
) -> list[Prompt]:
    """The order in which the real loop yields them from a real canvas; only the network is left
    out."""

    class Passing:
        def begin(self, row: Row) -> Row:
            return row

        def complete(self, row: Row) -> Prompt:
            return row.prompt

    def step(decoder: Decoder) -> list[Row]:
        generated = decoder.canvas.generated
        return decoder.canvas.apply(Update(generated, generated == generated))

    monkeypatch.setattr(Decoder, "step", step)
    cpu = torch.device("cpu")
    canvas = Canvas(
        RowFormat(gen_length=4, mask_id=0),
        Schedule(performed=[True] * 3),
        Room(rows=capacity_for(prompts, gen_length=4, token_budget=budget), tokens=budget),
        device=cpu,
    )
    nothing: Any = None
    passing: Any = Passing()
    model: Any = SimpleNamespace(device=cpu)
    decoder = Decoder(model, canvas, nothing, nothing, passing, Phases(cpu))
    finished: Any = decoder.decode(iter(in_drawing_order(prompts)))
    return list(finished)


@pytest.mark.parametrize("budget", [1, 130, 900, 10**6])
def test_the_loop_finishes_problems_in_drawing_order(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within a canvas, where rows lie by length: a shard may end, and the power fail, between
    two of them."""
    prompts = [prompt(f"p{i}", 10 + i) for i in range(60)]
    names = [p.problem.id for p in finished_order(prompts, budget, monkeypatch)]
    assert names == sorted(names, key=draw_key) and len(names) == 60
    assert names != [p.problem.id for p in by_length(prompts)]


def test_the_order_is_that_of_the_ids_alone() -> None:
    forwards = [prompt(f"p{i}", 10 + i) for i in range(50)]
    backwards = [prompt(f"p{i}", 90 - i) for i in reversed(range(50))]
    assert [p.problem.id for p in in_drawing_order(forwards)] == [
        p.problem.id for p in in_drawing_order(backwards)
    ]


@functools.cache
def outcomes(seed: int) -> tuple[list[Prompt], dict[str, bool]]:
    """Problems in file order, shortest first, and whether each is answered correctly."""
    rng = np.random.default_rng(seed)
    lengths = np.sort(rng.lognormal(4.6, 0.4, N).astype(int) + 20)
    right = rng.random(N) < np.repeat(BY_QUARTILE, N // 4)
    prompts = [prompt(f"{seed}/{i}", int(length)) for i, length in enumerate(lengths)]
    return prompts, {p.problem.id: bool(hit) for p, hit in zip(prompts, right, strict=True)}


def one_device(prompts: list[Prompt], cut: int) -> list[Prompt]:
    return in_drawing_order(prompts)[:cut]


def three_workers(prompts: list[Prompt], cut: int) -> list[Prompt]:
    """Whole batches, as three workers finish them that need a time proportional to a batch's
    tokens."""
    batches = batches_of(prompts, gen_length=48, budget=2048, workers=3, most=64)
    free, ends = [0.0] * 3, []
    for batch in batches:
        worker = int(np.argmin(free))
        free[worker] += sum(len(p.token_ids) + 48 for p in batch.prompts)
        ends.append((free[worker], batch.prompts))
    published: list[Prompt] = []
    for _, batch_prompts in sorted(ends, key=lambda end: end[0]):
        published += batch_prompts
        if len(published) >= cut:
            break
    return published


def shortest_first(prompts: list[Prompt], cut: int) -> list[Prompt]:
    return by_length(prompts)[:cut]


def covered(
    published: Callable[[list[Prompt], int], list[Prompt]], *, seeds: int
) -> Iterator[tuple[float, float]]:
    """For each cut the share of seeds whose interval holds the whole's accuracy, and what simple
    random sampling of as many problems would give: an interval of counts cannot have exactly 95 %.
    """
    runs = [outcomes(seed) for seed in range(seeds)]
    for cut in CUTS:
        hits, expected = [], []
        for prompts, right in runs:
            done = published(prompts, cut)
            n, total = len(done), sum(right.values())
            low, high = wilson(sum(right[p.problem.id] for p in done), n, whole=N)
            hits.append(low <= total / N <= high)
            expected.append((n, total))
        yield float(np.mean(hits)), float(np.mean([nominal(*pair) for pair in expected]))


_NOMINAL: dict[tuple[int, int], float] = {}


def nominal(n: int, total: int) -> float:
    """The coverage under simple random sampling of n from N with `total` correct, summed over all
    samples."""
    if (n, total) not in _NOMINAL:
        counts = np.arange(max(0, n - (N - total)), min(n, total) + 1)
        ends = [wilson(int(k), n, whole=N) for k in counts]
        inside = [low <= total / N <= high for low, high in ends]
        _NOMINAL[n, total] = float(hypergeom(N, total, n).pmf(counts)[inside].sum())
    return _NOMINAL[n, total]


@pytest.mark.parametrize("published", [one_device, three_workers])
def test_at_any_cut_the_interval_covers_the_whole(
    published: Callable[[list[Prompt], int], list[Prompt]],
) -> None:
    for found, expected in covered(published, seeds=SEEDS):
        assert abs(expected - 0.95) < 0.03
        assert abs(found - expected) < 3.3 * (expected * (1 - expected) / SEEDS) ** 0.5


def test_shortest_first_would_not() -> None:
    """That the simulation can tell: the order of before hardly ever covers the whole's accuracy at
    half the run."""
    found = [share for share, _ in covered(shortest_first, seeds=60)]
    assert found[CUTS.index(200)] < 0.25 and max(found[1:-1]) < 0.4


def test_a_run_publishes_in_drawing_order_and_says_what_it_is_a_sample_of(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    def stop(progress: Any) -> None:
        if progress.done == 12:
            raise KeyboardInterrupt

    execution = Execution(token_budget=400, shard_problems=5)
    with pytest.raises(KeyboardInterrupt):
        run(
            "generated:30",
            out=tmp_path,
            model=bundled_model,
            execution=execution,
            on_progress=stop,
            **SHORT,
        )
    cut = open_run(tmp_path)
    held = coverage(cut)
    asked = sorted((p.id for p in cut.problems), key=draw_key)
    assert 0 < len(cut) < 30 and set(cut.ids) == set(asked[: len(cut)])
    assert (
        held.random
        and held.whole == held.asked == 30
        and set(held.pending) == set(asked[len(cut) :])
    )
    assert held.note.startswith(f"unfinished: {30 - len(cut)} of 30 problems missing (")
    assert held.scope == f"for the whole of 30 from {len(cut)} drawn at random"
    run("generated:30", out=tmp_path, model=bundled_model, execution=execution, **SHORT)
    lines = [
        json.loads(line)["problem_ids"]
        for line in (tmp_path / "manifest-0.jsonl").read_text().splitlines()
    ]
    assert [name for ids in lines for name in ids] == asked
    assert (
        coverage(open_run(tmp_path))[2:5] == ((), (), True)
        and coverage(open_run(tmp_path)).note == ""
    )


def test_what_is_no_random_draw_is_not_called_one(
    bundled_model: MaskedDiffusionModel, tmp_path: Path
) -> None:
    """A run made shortest first; one that got more problems later; one whose stored problems
    somebody picked."""
    run("generated:30", limit=10, out=tmp_path, model=bundled_model, **SHORT)
    whole = open_run(tmp_path)
    assert coverage(whole).random and not coverage(whole).pending
    info = json.loads((tmp_path / "run.json").read_text())
    for checksum in ("sha256", "problems_sha256"):  # version 0.1 kept none
        del info[checksum]
    (tmp_path / "run.json").write_text(json.dumps(info))
    problems = (tmp_path / "problems.jsonl").read_text()
    more = "".join(
        problems.splitlines(keepends=True)[0].replace(whole.ids[0], f"later{i}") for i in range(40)
    )
    (tmp_path / "problems.jsonl").write_text(problems + more)
    assert not coverage(open_run(tmp_path)).random  # added after the run's first command
    info["data"]["n_problems"] = 50
    (tmp_path / "run.json").write_text(json.dumps(info))
    assert not coverage(open_run(tmp_path)).random  # not the first ten in drawing order
    info.pop("drawing")
    (tmp_path / "run.json").write_text(json.dumps(info))
    held = coverage(open_run(tmp_path))
    assert not held.random and held.scope.startswith(
        "for problems like the 10 stored, not for all 50"
    )
    lines = [json.dumps({"id": f"later{i}", "reason": "x"}) + "\n" for i in range(39)]
    (tmp_path / "failed.jsonl").write_text("".join(lines))
    held = coverage(open_run(tmp_path))
    assert (held.pending, len(held.given_up), held.whole) == (("later39",), 39, 11)
    assert "39 of 50 problems given up (later0, later1, later2, ...)" in held.note
