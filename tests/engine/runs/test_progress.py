"""Rate and ETA of a run are those of the work done, not of the problems that happen to have finished.

The twin counts row by row and step by step what the canvas did; a step of a row is the unit of
work, and under a free schedule a token.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import Canvas, Row
from diffengine.engine.decoding.loop import Decoder
from diffengine.engine.decoding.policy import Update
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.cluster.crew import Crew
from diffengine.engine.runs.cluster.seat import Seat
from diffengine.engine.runs.execution import Execution
from diffengine.engine.runs.progress import Progress
from diffengine.engine.runs.run import run

SHORT: dict[str, Any] = {"steps": 12, "gen_length": 12, "block_length": 4}


def test_the_first_of_a_hundred_rows_does_not_stand_for_all() -> None:
    """100 rows at their last step after 50 s, of 1000 problems: 450 s more, whether one of them has
    been passed on or all."""
    first = Progress(1, 0, 0, 1000, 1, 50.0, begun=99.0)
    last = Progress(100, 0, 0, 1000, 90, 50.0)
    for progress in (first, last):
        assert progress.decodings_per_second == pytest.approx(2.0)
        assert progress.eta_seconds == pytest.approx(450.0)


def test_what_is_from_before_or_failed_is_neither_work_nor_missing() -> None:
    progress = Progress(4, 10, 6, 30, 3, 8.0, begun=4.0)
    assert progress.missing == 10
    assert progress.decodings_per_second == pytest.approx(1.0)
    assert progress.eta_seconds == pytest.approx(6.0)


def test_before_anything_is_decoded_nothing_is_foretold() -> None:
    for progress in (Progress(0, 3, 0, 10, 0, 5.0), Progress(2, 0, 0, 10, 0, 0.0)):
        assert progress.decodings_per_second is None
        assert progress.eta_seconds is None


def test_a_run_whose_work_is_done_is_not_foretold_a_time_before_now() -> None:
    assert Progress(9, 0, 0, 10, 9, 5.0, begun=1.5).eta_seconds == 0.0


class Worked:
    """Steps of rows, and tokens committed, so far on any canvas of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.row_steps = 0
        self.tokens = 0
        apply = Canvas.apply

        def counted(canvas: Canvas, update: Update) -> list[Row]:
            self.row_steps += len(canvas.rows)
            self.tokens += int(update.commit.sum())
            return apply(canvas, update)

        monkeypatch.setattr(Canvas, "apply", counted)


@pytest.mark.parametrize("budget", [150, 400, 100_000])
def test_what_is_begun_counts_by_its_steps(
    bundled_model: MaskedDiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    budget: int,
) -> None:
    worked = Worked(monkeypatch)
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        assert progress.done + progress.begun == pytest.approx(worked.row_steps / 12)

    execution = Execution(token_budget=budget)
    run(
        "samples", out=tmp_path, model=bundled_model, execution=execution, on_progress=look, **SHORT
    )
    assert [progress.done for progress in seen] == list(range(11))
    assert max(progress.begun for progress in seen) >= 1
    assert seen[-1].begun == 0


def test_rows_that_entered_at_different_steps_count_by_their_own(
    bundled_model: MaskedDiffusionModel, prompts_of: Any
) -> None:
    config = RunConfig.of(model="bundled", dtype="float32", **SHORT)
    prompts = prompts_of(bundled_model, 12)[:3]
    decoder = Setup(bundled_model, config).decoder(prompts, budget=100_000)
    canvas = decoder.canvas
    assert canvas.fill(iter(prompts[:1]))
    for _ in range(3):
        decoder.step()
    assert canvas.decoded == pytest.approx(3 / 12)
    assert canvas.fill(iter(prompts[1:]))
    for _ in range(2):
        decoder.step()
    assert canvas.decoded == pytest.approx((5 + 2 + 2) / 12)


def test_under_a_free_schedule_it_counts_by_its_tokens(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = Worked(monkeypatch)
    ends: list[float] = []

    def look(progress: Progress) -> None:
        assert progress.done + progress.begun == pytest.approx(worked.tokens / 12)
        ends.append(progress.begun)

    options = {"policy": "threshold", "threshold": 0.9, "gen_length": 12, "block_length": 4}
    execution = Execution(token_budget=400)
    run(
        "samples",
        out=tmp_path,
        model=bundled_model,
        execution=execution,
        on_progress=look,
        **options,
    )
    assert len(ends) == 11
    assert any(begun % 1 for begun in ends), "rows at unlike places"
    assert ends[-1] == 0


def test_what_memory_ran_out_of_is_work_lost(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the canvas that broke begin anew, and only what finished of it counts."""
    steps = 0
    step = Decoder.step
    lost = 0.0

    def breaking(decoder: Decoder) -> list[Row]:
        nonlocal steps, lost
        steps += 1
        if steps == 18:
            lost = sum(row.step for row in decoder.canvas.rows)
            raise torch.OutOfMemoryError("pretended")
        return step(decoder)

    worked = Worked(monkeypatch)
    monkeypatch.setattr(Decoder, "step", breaking)

    def look(progress: Progress) -> None:
        done = progress.done + progress.begun
        assert done == pytest.approx((worked.row_steps - lost) / 12)

    execution = Execution(token_budget=400)
    run(
        "samples", out=tmp_path, model=bundled_model, execution=execution, on_progress=look, **SHORT
    )
    assert lost > 0


def test_workers_are_taken_to_be_halfway_through_their_batches() -> None:
    prompts = [object()] * 4
    seats = [Seat(0), Seat(1), Seat(2)]
    seats[0].batch = SimpleNamespace(prompts=prompts)  # type: ignore[assignment]
    seats[1].unconfirmed = {"a": object(), "b": object(), "c": object()}  # type: ignore[dict-item]
    assert Crew.begun.fget(SimpleNamespace(seats=seats)) == 5.0  # type: ignore[attr-defined]
