"""A signal is a wish until the work is at a good place; the second one is an order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.record import Recorder
from diffengine.engine.runner import Execution, run
from diffengine.engine.stopping import stopping
from diffengine.engine.store import open_run, verify_run

SHORT: dict[str, Any] = {"steps": 8, "gen_length": 8, "block_length": 4, "save_logits": "hidden"}

TWICE = """
import os, signal
from diffengine.engine.stopping import stopping
with stopping("nothing"):
    os.kill(os.getpid(), signal.{first})
    print("still here", flush=True)
    os.kill(os.getpid(), signal.{second})
    print("never", flush=True)
"""


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


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_the_second_ends_at_once(first: str, second: str) -> None:
    code = TWICE.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, -done.returncode) == ("still here\n", getattr(signal, second))


@pytest.mark.parametrize("moment", ["finish", "take_hidden_sum"])
def test_sums_match_their_problems_whenever_the_signal_comes(
    bundled_model: MaskedDiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The signal comes after a problem's hidden states were summed, or while the sum is being taken."""
    real, calls = getattr(Recorder, moment), [0]

    def and_then_a_signal(self: Recorder, *arguments: Any) -> Any:
        result = real(self, *arguments)
        calls[0] += 1
        if calls[0] == 1:
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
