"""A signal is a wish until the work is at a good place; the second one interrupts, and nothing half
done is kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.decoding.recorder import Recorder
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.runs.run import Execution, run
from diffengine.engine.signals import stopping
from diffengine.engine.store import open_run, verify_run

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4, "save_logits": "hidden"}

MOMENTS = {"complete": 4, "take_hidden_sum": 2}
"""At which call of which method the signal comes; the first shard has been handed over then."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stopping("nothing") as stop:
        stop.end_if_asked()
        os.kill(os.getpid(), number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.end_if_asked()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")]
)
def test_the_second_interrupts(first: str, second: str) -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), stopping("nothing") as stop:
        os.kill(os.getpid(), getattr(signal, first))
        reached.append(stop.interrupted)
        os.kill(os.getpid(), getattr(signal, second))
        reached.append(True)
    assert (reached, stop.interrupted) == ([False], True)


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("moment", MOMENTS)
def test_sums_match_their_problems_whenever_the_signal_comes(
    bundled_model: MaskedDiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    signals: int,
) -> None:
    """The signal comes after a problem's hidden states were summed, or while the sum is being
    taken."""
    real, calls = getattr(Recorder, moment), [0]

    def and_then_a_signal(self: Recorder, *arguments: Any) -> Any:
        result = real(self, *arguments)
        calls[0] += 1
        if calls[0] == MOMENTS[moment]:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
        return result

    execution = Execution(shard_problems=2, token_budget=150)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Recorder, moment, and_then_a_signal)
        run("samples", out=tmp_path, model=bundled_model, execution=execution, **SHORT)
    stored = open_run(tmp_path)
    assert 0 < len(stored) < 10
    for done in (len(stored), 10):
        total, count = open_run(tmp_path).shard_sum("hidden_sum")
        assert count == done
        np.testing.assert_allclose(total, open_run(tmp_path)["hidden"][...].sum(0), atol=1e-3)
        run("samples", out=tmp_path, model=bundled_model, **SHORT)
    assert verify_run(tmp_path).complete
