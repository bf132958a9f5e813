"""Small checkpoints with random weights in LLaDA's on-disk format, for tests of loading and
decoding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.setup import Setup
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.problems.read import Problem
from diffengine.engine.prompts.prompt import Prompt, build_prompt
from diffengine.engine.runs.run import BUNDLED

SMALL = {
    "d_model": 64,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "mlp_hidden_size": 96,
    "embedding_size": 560,
}


def write_random_checkpoint(
    directory: Path, *, seed: int = 0, scale: float = 1.0, **changes: Any
) -> Path:
    """A checkpoint of random weights; `changes` go into config.json. `scale` sharpens the
    logits."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, directory / name)
    config = json.loads((BUNDLED / "config.json").read_text()) | SMALL | changes
    (directory / "config.json").write_text(json.dumps(config))
    width, mlp, rows = (
        config["d_model"],
        config["mlp_hidden_size"],
        config["embedding_size"] or config["vocab_size"],
    )
    kv = (config["n_kv_heads"] or config["n_heads"]) * width // config["n_heads"]
    shapes = {"wte": (rows, width), "ln_f": (width,)}
    if not config["weight_tying"]:
        shapes["ff_out"] = (rows, width)
    for layer in range(config["n_layers"]):
        block = {
            "attn_norm": (width,),
            "ff_norm": (width,),
            "q_proj": (width, width),
            "k_proj": (kv, width),
            "v_proj": (kv, width),
            "attn_out": (width, width),
            "ff_proj": (mlp, width),
            "up_proj": (mlp, width),
            "ff_out": (width, mlp),
        }
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            return 1 + 0.3 * noise
        return noise * (scale if name == "ff_out" else 1.0) / shape[1] ** 0.5

    tensors = {
        f"model.transformer.{name}.weight": draw(name, shape) for name, shape in shapes.items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def random_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes random checkpoints into the test's own directory."""
    return lambda name="checkpoint", **changes: write_random_checkpoint(tmp_path / name, **changes)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> MaskedDiffusionModel:
    """A random model whose confidences are spread out."""
    return load_model(
        write_random_checkpoint(tmp_path_factory.mktemp("random") / "model", scale=4.0),
        device="cpu",
    )


@pytest.fixture(scope="session")
def bundled_model() -> MaskedDiffusionModel:
    """The trained model, whose confidences saturate at 1, so that ties are common."""
    return load_model(BUNDLED, device="cpu")


QUESTIONS = (
    "Ann has 5 rocks. Ann finds 3 rocks. How many rocks does Ann have now?",
    "2 + 2?",
    "",
    "A book costs 7 dollars. Ben buys 4 of them. Ben also buys a pen for 12 dollars. How many "
    "dollars does Ben pay?",
    "Wie viele Äpfel sind das? 三 + 四",
    "Mia has 9 cards. Leo has 4 more than Mia. How many cards does Leo have?",
)


def prompts_for(model: MaskedDiffusionModel, gen_length: int) -> list[Prompt]:
    problems = [
        Problem(id=f"p{i}", question=q, answer=str(11 * i)) for i, q in enumerate(QUESTIONS)
    ]
    return [
        build_prompt(p, i, model, style="chat", gen_length=gen_length)
        for i, p in enumerate(problems)
    ]


def run_packed(
    model: MaskedDiffusionModel,
    config: RunConfig,
    prompts: list[Prompt],
    *,
    budget: int = 2048,
    refill: bool = True,
) -> dict:
    decoder = Setup(model, config).decoder(prompts, budget=budget, refill=refill)
    finished = list(decoder.decode(iter(prompts)))
    assert len(finished) == len(prompts)
    return {f.problem.id: f.columns | _padded(f.columns) for f in finished}


def _padded(columns: dict[str, Any], *, width: int = 2) -> dict[str, np.ndarray]:
    """Answer tokens padded as the store does on reading: how wide they are depends on the longest
    gold answer near."""
    short = width - len(columns["answer_token_id"])
    return {
        "answer_token_id": np.pad(columns["answer_token_id"], (0, short), constant_values=-1),
        "answer_logprob": np.pad(
            columns["answer_logprob"], ((0, 0), (0, 0), (0, short)), constant_values=np.nan
        ),
        "null_answer_logprob": np.pad(
            columns["null_answer_logprob"], ((0, 0), (0, short)), constant_values=np.nan
        ),
    }


@pytest.fixture
def packed() -> Callable[..., dict[str, dict[str, Any]]]:
    """`packed(model, config, prompts, budget=, refill=)`: columns of each problem by id, through
    the packed loop."""
    return run_packed


@pytest.fixture
def prompts_of() -> Callable[..., list[Prompt]]:
    """`prompts_of(model, gen_length)`: prompts of very different lengths."""
    return prompts_for


@pytest.fixture(scope="session")
def faults_seed(pytestconfig: pytest.Config) -> int:
    """Seed of whatever the fault and damage tests draw."""
    return int(pytestconfig.getoption("--faults-seed"))


@pytest.fixture(scope="session")
def every_fault(pytestconfig: pytest.Config) -> bool:
    """Whether every fault is asked for, or a sample for CI."""
    return bool(pytestconfig.getoption("--faults") == "all")
