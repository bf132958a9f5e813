"""The compiled layer stack: the same tokens, and no shape compiled twice.

The backend counts what it is asked to compile and runs it as it is; what a real compiler makes of
it is a matter of rounding, and of the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from diffengine.engine.cli.command_line import group
from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.canvas import Canvas
from diffengine.engine.decoding.phases import Phases
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.compiled import CompiledForward, Sizes, compiled
from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.models.reads import reads_of
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt
from diffengine.engine.runs.device import Device
from diffengine.engine.runs.execution import Execution
from diffengine.engine.store import open_run

CONFIG = RunConfig.of(model="test", steps=8, gen_length=8, block_length=4)


class Counting:
    """A torch.compile backend that notes the number of packed tokens of each graph and runs it
    uncompiled."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        self.tokens.append(
            max(x.shape[1] for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 3)
        )
        return graph.forward


@pytest.fixture
def counting() -> Counting:
    torch.compiler.reset()
    return Counting()


def compile_counted(monkeypatch: pytest.MonkeyPatch, counting: Counting) -> None:
    """Let a run that compiles do it with the counting backend."""

    def counted(model: MaskedDiffusionModel, most_tokens: int) -> MaskedDiffusionModel:
        return compiled(model, most_tokens=most_tokens, backend=counting)

    monkeypatch.setattr("diffengine.engine.runs.device._compiled", counted)


def packed_by(
    model: MaskedDiffusionModel, config: RunConfig, prompts: Any, *, budget: int
) -> dict[str, Any]:
    decoder = Setup(model, config).decoder(prompts, budget=budget)
    return {one.problem.id: one.columns for one in decoder.decode(iter(prompts))}


@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.0}], ids=["plain", "guided"])
def test_tokens_are_the_same_and_each_bucket_is_compiled_once(
    bundled_model: MaskedDiffusionModel,
    counting: Counting,
    prompts_of: Any,
    changes: dict[str, Any],
) -> None:
    config = CONFIG.changed(**changes)
    prompts = prompts_of(bundled_model, config.gen_length)
    copies = 2 if config.guided else 1
    network = compiled(bundled_model, most_tokens=120 * copies, backend=counting)
    for budget in (120, 120):  # the second time everything is compiled
        found = packed_by(network, config, prompts, budget=budget)
    plain = packed_by(bundled_model, config, prompts, budget=120)
    for name, columns in plain.items():
        assert np.array_equal(columns["token"], found[name]["token"])
        np.testing.assert_allclose(columns["entropy"], found[name]["entropy"], atol=1e-5, rtol=1e-5)
    assert 2 <= len(counting.tokens) == len(set(counting.tokens)) <= 4
    assert all(tokens % 64 == 0 for tokens in counting.tokens)


def test_a_real_compiler_gives_the_same_tokens(
    bundled_model: MaskedDiffusionModel, prompts_of: Any
) -> None:
    torch.compiler.reset()
    prompts = prompts_of(bundled_model, CONFIG.gen_length)[:3]
    network = compiled(bundled_model, most_tokens=300, backend="aot_eager")
    found = packed_by(network, CONFIG, prompts, budget=300)
    for name, columns in packed_by(bundled_model, CONFIG, prompts, budget=300).items():
        assert np.array_equal(columns["token"], found[name]["token"])


def test_the_option_reaches_the_network(
    bundled_model: MaskedDiffusionModel,
    counting: Counting,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_counted(monkeypatch, counting)
    arguments = [
        "run",
        "--limit",
        "3",
        "--steps",
        "4",
        "--gen-length",
        "4",
        "--model",
        "bundled",
        "--device",
        "cpu",
    ]
    for name, more in (("plain", []), ("compiled", ["--compile"])):
        done = CliRunner().invoke(group, [*arguments, *more, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        assert bool(counting.tokens) == bool(more)
    one, two = open_run(tmp_path / "plain"), open_run(tmp_path / "compiled")
    assert (
        one.info["fingerprint"] == two.info["fingerprint"]
    )  # so either may go on with the other's run
    assert np.array_equal(one["token"][...], two["token"][...])


class Seen:
    """Stands in for the compiled layers: notes what shapes they are given."""

    def __init__(self) -> None:
        self.offsets: list[list[int]] = []
        self.shapes: set[tuple[int, int, int]] = set()

    def __call__(self, states: Any, cos: Any, sin: Any, offsets: Any, longest: int) -> torch.Tensor:
        self.offsets.append(offsets.tolist())
        self.shapes.add((states.shape[1], len(offsets), longest))
        return states


def seen_by(
    model: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch, sizes: Sizes, *, max_length: int
) -> tuple[CompiledForward, Seen]:
    seen = Seen()
    forward = CompiledForward(model.network, sizes=sizes, max_length=max_length)
    monkeypatch.setattr(forward, "_stack_of", lambda size, most_rows: seen)
    return forward, seen


def states_of(forward: CompiledForward, lengths: list[int], *, each: int) -> torch.Tensor:
    """What is read of rows of these lengths, each of ones."""
    device = torch.device("cpu")
    packing = packing_of(lengths, device)
    reads = reads_of(lengths, packing, rows=len(lengths), each=each)
    positions = torch.cat([torch.arange(length) for length in lengths])
    ids = torch.arange(7, 7 + sum(lengths)) % 500
    return forward.hidden_read(ids, positions, packing, reads)


def test_padding_rows_keep_every_boundary(
    random_model: MaskedDiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, seen = seen_by(random_model, monkeypatch, Sizes(256), max_length=1024)
    states = states_of(forward, [5, 5, 7], each=4)
    assert seen.shapes == {(64, 64 // 4 + 3, 64)}  # no row is longer than the batch
    assert seen.offsets == [[0, 5, 10, 17, 64, *[64] * 14]]
    embedding = random_model.network.model.embed_tokens.weight
    expected = [*range(1, 5), *range(6, 10), *range(13, 17)]
    assert torch.equal(states, embedding[[7 + i for i in expected]])


@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.0}], ids=["plain", "guided"])
def test_twenty_batches_of_any_make_meet_four_shapes(
    random_model: MaskedDiffusionModel,
    counting: Counting,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    """As a worker gets them: other rows, other lengths, once out of memory, and a driver that
    splits a batch."""
    compile_counted(monkeypatch, counting)
    config = CONFIG.changed(**{"steps": 2, "block_length": 8, **changes})
    execution = Execution(compile=True, token_budget=800 if changes else 400)
    device = Device(random_model, config, execution, lambda columns: None)
    lengths = [
        [10 + 7 * batch] * (1 + batch % 5) + [30 + 11 * batch] * (batch % 7) for batch in range(20)
    ]
    real_step, steps = Canvas.apply, [0]

    def apply(self: Any, update: Any) -> Any:
        steps[0] += 1
        if steps[0] == 9:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return real_step(self, update)

    monkeypatch.setattr(Canvas, "apply", apply)
    number = 0
    for batch in lengths:
        prompts = []
        for length in batch:
            problem = Problem(id=f"p{number}", question="", answer=None)
            prompts.append(Prompt(problem, number, number, tuple([5] * length), ()))
            number += 1
        assert len(list(device.decode(prompts))) == len(prompts)
    assert len({tuple(batch) for batch in lengths}) == 20
    assert max(map(max, lengths)) + config.gen_length <= 256
    assert 2 <= len(counting.tokens) == len(set(counting.tokens)) <= 4


def test_a_process_may_compile_many_models(
    random_model: MaskedDiffusionModel, counting: Counting, prompts_of: Any
) -> None:
    """The compiler counts shapes by code object; models after the first few met a limit that was
    not theirs."""
    prompts = prompts_of(random_model, 4)[:2]
    config = RunConfig.of(model="test", steps=1, gen_length=4, block_length=4)
    for budget in range(300, 3000, 300):
        network = compiled(random_model, most_tokens=budget, backend=counting)
        packed_by(network, config, prompts, budget=budget)
    assert len(counting.tokens) == 9


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(
    "budget, longest, gen_length", [(16384, 700, 128), (100, 500, 8), (2048, 4096, 512)]
)
def test_no_batch_within_the_budget_leaves_the_shapes(
    random_model: MaskedDiffusionModel,
    monkeypatch: pytest.MonkeyPatch,
    budget: int,
    longest: int,
    gen_length: int,
    copies: int,
) -> None:
    """The smallest rows, and rows longer than the budget, which run alone."""
    sizes = Sizes(budget * copies)
    forward, seen = seen_by(random_model, monkeypatch, sizes, max_length=longest)
    fullest = max(1, budget // (gen_length + 1)) * copies
    for rows in range(copies, fullest + 1, max(copies, fullest // 7)):
        states_of(forward, [gen_length + 1] * rows, each=gen_length)
    assert 1 <= len(seen.shapes) <= 4
    for length in range(gen_length + 1, longest, max(1, longest // 31)):
        if length <= max(budget, longest):
            states_of(forward, [length] * copies, each=gen_length)
    beyond = [shape for shape in seen.shapes if shape[0] > 4 * sizes.step]
    assert len(seen.shapes) - len(beyond) <= 4
    assert 2 ** len(beyond) <= 2 * max(1, longest / budget)
    for size, n_bounds, most in seen.shapes:
        rows = [offsets for offsets in seen.offsets if offsets[-1] == size]
        assert all(len(offsets) == n_bounds for offsets in rows)
        assert all(max(np.diff(offsets)) <= most for offsets in rows)


def test_what_is_counted_is_what_goes_through_the_network(
    bundled_model: MaskedDiffusionModel, counting: Counting, prompts_of: Any
) -> None:
    prompts = prompts_of(bundled_model, CONFIG.gen_length)[:2]
    network = compiled(bundled_model, most_tokens=300, backend=counting)
    phases = Phases(bundled_model.device)
    decoder = Setup(network, CONFIG).decoder(prompts, budget=300, phases=phases)
    list(decoder.decode(iter(prompts)))
    assert phases.tokens == phases.forwards * counting.tokens[0]


def test_the_pass_of_the_stock_class_stays_at_hand(
    bundled_model: MaskedDiffusionModel, counting: Counting
) -> None:
    """The null beliefs and likelihoods are of batches that come once; nothing is compiled for
    them."""
    ids = torch.arange(10, 80)
    packing = packing_of([70], bundled_model.device)
    network = compiled(bundled_model, most_tokens=300, backend=counting)
    states = network.hidden(ids, torch.arange(70), packing)
    assert torch.equal(states, bundled_model.hidden(ids, torch.arange(70), packing))
    assert counting.tokens == []
