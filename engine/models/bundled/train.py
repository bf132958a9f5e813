"""Train a bundled model from nothing: `python -m diffengine.engine.models.bundled.train
--work DIR`.

With `--block-length K` it is the block model: a Qwen3 in SDAR's format, trained by
`block_objective.py`.

One process, step-based schedules, data a pure function of (seed, step): the same command gives the
same model on the same machine, and goes on where it was killed. The network is the stock class that
the loader uses; matrices inside the layers are optimised by Muon, the rest by AdamW (both torch's
own).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AttentionInterface,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ...store.disk import replace_file
from .block_objective import BlockBatch, block_batch_pool, block_validation_batches
from .generator import word_problems
from .objective import POOL_BATCHES, Batch, batch_pool, validation_batches
from .tokenizer import prompt_text, train_tokenizer

logger = logging.getLogger(__name__)

SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1024,
}
ROPE_THETA = 10_000.0
MUON_LR = 0.012
ADAM_LR = 0.002
WARM_UP = 50
DECAY_FROM = 0.65
EMA = 0.995
CLIP = 1.0


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    scaling: float = 1.0,
    allowed: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    # Plain products: at 90 tokens on a CPU they beat the fused attention by half (its backward is
    # slow there).
    score = query @ key.transpose(-1, -2) * scaling
    if allowed is not None:
        score = score.masked_fill(~allowed, -torch.inf)
    weight = score.softmax(-1).to(value.dtype)
    return (weight @ value).transpose(1, 2), None


def build_model(
    vocab_size: int, *, seed: int, shape: dict[str, Any] = SHAPE, block_length: int | None = None
) -> Any:
    """An untrained bidirectional Llama, or Qwen3 where blocks are learnt: N(0, 1/fan_in), residual
    outputs scaled by 1/sqrt(2 layers)."""
    AttentionInterface.register("bundled_training", _attention)
    settings: dict[str, Any] = dict(
        vocab_size=vocab_size,
        **shape,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        is_causal=False,
        use_cache=False,
        tie_word_embeddings=False,
        attn_implementation="bundled_training",
    )
    torch.manual_seed(seed)
    model: Any
    if block_length is None:
        model = LlamaForCausalLM(LlamaConfig(**settings))
    else:
        head_dim = shape["hidden_size"] // shape["num_attention_heads"]
        settings |= {"head_dim": head_dim, "num_key_value_heads": shape["num_attention_heads"]}
        model = Qwen3ForCausalLM(Qwen3Config(**settings))
    residual = (2 * model.config.num_hidden_layers) ** -0.5
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                continue
            scale = 0.1 if "embed_tokens" in name else weight.shape[1] ** -0.5
            scale *= residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
            scale *= 0.5 if "lm_head" in name else 1.0
            weight.normal_(0.0, scale)
    return model


def loss_of(model: Any, batch: Batch | BlockBatch, device: torch.device) -> torch.Tensor:
    """Mean over rows of the weighted cross-entropy at masked positions, in nats."""
    inputs, target, weight = (t.to(device) for t in batch[:3])
    visible: dict[str, Tensor] = {}
    if isinstance(batch, BlockBatch):
        visible = {
            "position_ids": batch.positions[None].to(device),
            "allowed": batch.allowed.to(device),
        }
    picked = weight.flatten().nonzero().squeeze(1)
    with torch.autocast(device.type, torch.bfloat16):
        hidden = model.model(inputs, **visible).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[picked])
    losses = F.cross_entropy(logits.float(), target.flatten()[picked], reduction="none")
    return (losses * weight.flatten()[picked]).sum() / len(inputs)


def _optimizers(model: Any) -> list[torch.optim.Optimizer]:
    blocks = [p for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2]
    inside = set(map(id, blocks))
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(blocks, lr=MUON_LR, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _schedule(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARM_UP, (steps - step) / (steps * (1 - DECAY_FROM)))


def _save(path: Path, state: dict[str, object]) -> None:
    replace_file(path, partial(torch.save, state))


class _Training:
    """The network, the running average of its weights, and its optimizers, after `done` steps."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.average = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.optimizers = _optimizers(model)
        self.done = 0

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.done = state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        _save(
            path,
            {
                "model": self.model.state_dict(),
                "average": self.average,
                "step": self.done,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
        )

    def step(self, batch: Batch | BlockBatch, *, rate: float) -> float:
        """One step at the share `rate` of the learning rates; returns the loss in nats."""
        for optimizer, full_rate in zip(self.optimizers, (MUON_LR, ADAM_LR), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full_rate * rate
            optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.model, batch, self.device)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for optimizer in self.optimizers:
            optimizer.step()

        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                share = 1 - min(EMA, (self.done + 1) / (self.done + 10))
                self.average[name].lerp_(weight, share)
        self.done += 1
        return float(loss.item())


def _tokenizer(path: Path, *, seed: int) -> Tokenizer:
    """The tokenizer at `path`, trained first where there is none."""
    if not path.exists():
        stream = word_problems(f"tokenizer {seed}", held_out=False)
        corpus = [next(stream) for _ in range(20_000)]
        texts = (text for p in corpus for text in (prompt_text(p.question), p.solution))
        train_tokenizer(texts).save(str(path))
    return Tokenizer.from_file(str(path))


def train(
    work: Path,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    save_every: int,
    block_length: int | None = None,
) -> Path:
    """Train to `steps`, resuming from `work/state.pt` if it is there; returns the path of the final
    state. With a `block_length` the block model."""
    work.mkdir(parents=True, exist_ok=True)
    state_path = work / "state.pt"
    tokenizer = _tokenizer(work / "tokenizer.json", seed=seed)
    vocab_size = tokenizer.get_vocab_size()
    model = build_model(vocab_size, seed=seed, block_length=block_length).to(device)
    training = _Training(model, device)
    if state_path.exists():
        training.load(state_path)
    make_pool: Callable[..., Sequence[Batch | BlockBatch]] = batch_pool
    validation: Sequence[Batch | BlockBatch]
    if block_length is None:
        validation = validation_batches(tokenizer, n=256, batch_size=64)
    else:
        make_pool = partial(block_batch_pool, block_length=block_length)
        validation = block_validation_batches(
            tokenizer, block_length=block_length, n=256, batch_size=64
        )

    started = time.time()
    losses: list[float] = []
    pool: Sequence[Batch | BlockBatch] = []
    for step in range(training.done, steps):
        if not pool or step % POOL_BATCHES == 0:
            number = step // POOL_BATCHES
            pool = make_pool(tokenizer, seed=seed, pool=number, batch_size=batch_size)
        losses.append(training.step(pool[step % POOL_BATCHES], rate=_schedule(step, steps)))

        if training.done % save_every == 0 or training.done == steps:
            training.save(state_path)
            report = {
                "step": training.done,
                "sequences": training.done * batch_size,
                "train_nats": sum(losses) / len(losses),
                "validation_nats": _validate(model, training.average, validation, device),
                "seconds": round(time.time() - started, 1),
            }
            losses = []
            with (work / "log.jsonl").open("a") as log:
                log.write(json.dumps(report) + "\n")
            logger.info("%s", report)
    return state_path


@torch.no_grad()
def _validate(
    model: Any,
    average: dict[str, torch.Tensor],
    batches: Sequence[Batch | BlockBatch],
    device: torch.device,
) -> float:
    current = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.load_state_dict(average, strict=False)
    loss = math.fsum(loss_of(model, b, device).item() * len(b.input_ids) for b in batches)
    model.load_state_dict(current, strict=False)
    return loss / sum(len(b.input_ids) for b in batches)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="directory for the state, the log and the tokenizer",
    )
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--block-length", type=int, help="of the block model, which is trained then"
    )
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(args.device)
    train(
        args.work,
        steps=args.steps,
        batch_size=args.batch_size,
        seed=args.seed,
        device=device,
        save_every=args.save_every,
        block_length=args.block_length,
    )


if __name__ == "__main__":
    main()
