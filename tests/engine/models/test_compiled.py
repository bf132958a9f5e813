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
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.decoding.shapes import shapes_of
from diffengine.engine.models import compiled as compiled_model
from diffengine.engine.models.attention import groups_of, packing_of
from diffengine.engine.models.compiled import CompiledModel, compiled
from diffengine.engine.models.loading import MaskedDiffusionModel
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


def packed_by(
    model: MaskedDiffusionModel, config: RunConfig, prompts: Any, *, budget: int
) -> dict[str, Any]:
    longest = max(len(p.token_ids) for p in prompts) + config.gen_length
    copies = 2 if config.guided else 1
    few = shapes_of(
        token_budget=budget, longest=longest, gen_length=config.gen_length, copies=copies
    )
    shapes = few if isinstance(model, CompiledModel) else None
    decoder = Setup(model, config).decoder(prompts, budget=budget, shapes=shapes)
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
    network = compiled(bundled_model, backend=counting)
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
    found = packed_by(compiled(bundled_model, backend="aot_eager"), CONFIG, prompts, budget=300)
    for name, columns in packed_by(bundled_model, CONFIG, prompts, budget=300).items():
        assert np.array_equal(columns["token"], found[name]["token"])


def test_the_option_reaches_the_network(
    bundled_model: MaskedDiffusionModel,
    counting: Counting,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_model, "compiled", lambda model: compiled(model, backend=counting))
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


def test_padding_rows_keep_every_boundary() -> None:
    packing = packing_of([5, 5, 7], torch.device("cpu"), rows=6, longest=128)
    assert packing.offsets.tolist() == [0, 5, 10, 17, 17, 17, 17]
    assert packing.longest == 128
    assert packing.groups == groups_of([5, 5, 7]) == ((0, 2, 5), (10, 1, 7))


@pytest.mark.parametrize("changes", [{}, {"cfg_scale": 1.0}], ids=["plain", "guided"])
def test_twenty_batches_of_any_make_meet_four_shapes(
    random_model: MaskedDiffusionModel,
    counting: Counting,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    """As a worker gets them: other rows, other lengths, once out of memory, and a driver that
    splits a batch."""
    monkeypatch.setattr(compiled_model, "compiled", lambda model: compiled(model, backend=counting))
    config = CONFIG.changed(**{"steps": 2, "block_length": 8, **changes})
    execution = Execution(compile=True, token_budget=800 if changes else 400, longest_row=256)
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
        packed_by(compiled(random_model, backend=counting), config, prompts, budget=budget)
    assert len(counting.tokens) == 9


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(
    "budget, longest, gen_length", [(16384, 700, 128), (100, 500, 8), (2048, 4096, 512)]
)
def test_no_batch_within_the_budget_leaves_the_shapes(
    budget: int, longest: int, gen_length: int, copies: int
) -> None:
    shapes = shapes_of(token_budget=budget, longest=longest, gen_length=gen_length, copies=copies)
    assert 4 * shapes.bucket >= copies * max(budget, longest)
    assert shapes.longest >= max(longest, shapes.padding_row)
    fullest = max(1, budget // gen_length) * copies  # rows of nothing but generated positions
    assert shapes.rows >= fullest + -(-(shapes.bucket - 1) // shapes.padding_row)
