"""What keeping keys and values of full blocks is worth: problems an hour and token-forwards with
and without, and of the published loop at batch 1, in one process, at identical tokens.

The published loop is SDAR's (the generate.py of its repository) with transformers' own cache and
attention: it feeds the prompt's full blocks once, then each block until it is full and once more to
keep it. It only decodes; ours also records every statistic and grades. Where diffusers is
installed, its LLaDA2 pipeline is set beside our policy of that name on the same checkpoint.
`python -m diffengine.bench.blocks --problems generated:60` prints and writes JSON.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..engine.config import RunConfig, resolve
from ..engine.decoding.phases import Phases
from ..engine.decoding.setup import Setup
from ..engine.models.bundled import BUNDLED_BLOCK, bundled_name
from ..engine.models.loading import MaskedDiffusionModel, load_model
from ..engine.policies.commits import transfer_counts
from ..engine.policies.sdar_options import SDAROptions
from ..engine.problems.read import read_problems
from ..engine.prompts.prompt import Prompt
from ..engine.runs.device import in_drawing_order
from ..engine.runs.execution import Execution, token_budget
from ..engine.runs.plan import prompts_of
from .block_peers import diffusers_pipeline

RESULTS = Path(__file__).parent / "results"

ROUNDS = 3

LOOP = "published loop, batch 1"
PIPELINE = "diffusers' LLaDA2 pipeline, batch 1"


class Decoded(NamedTuple):
    """Tokens by problem id up to the end of the text, and how many tokens went through the
    network."""

    tokens: dict[str, list[int]]
    token_forwards: int


class PublishedLoop:
    """SDAR's loop over the stock class, greedy, with a fixed number of commits a step."""

    def __init__(self, model: MaskedDiffusionModel, config: RunConfig) -> None:
        options = config.sampler
        assert isinstance(options, SDAROptions)
        assert options.remasking_strategy == "low_confidence_static" and options.temperature == 0
        self.length = options.block_length
        self.counts = transfer_counts(self.length, options.steps_of_block)
        self.gen_length = options.gen_length
        self.token_ids = model.token_ids
        self.device = model.device
        self.network = _stock(model)
        self.token_forwards = 0

    @torch.inference_mode()
    def decode(self, prompt: Prompt) -> list[int]:
        """The generated tokens of one problem."""
        from transformers import DynamicCache

        self.cache = DynamicCache()
        length = self.length
        n_prompt = len(prompt.token_ids)
        n_blocks = -(-(n_prompt + self.gen_length) // length)
        row = torch.full((n_blocks * length,), self.token_ids.mask, device=self.device)
        row[:n_prompt] = torch.tensor(prompt.token_ids, device=self.device)

        first = n_prompt // length
        if first:
            self._forward(row, 0, first * length, keeps=True)
        for block in range(first, n_blocks):
            start = block * length
            self._fill(row, start)
            self._forward(row, start, start + length, keeps=True)
            written = row[max(start, n_prompt) : start + length]
            if (written == self.token_ids.eos).any():
                break
        return [int(token) for token in row[n_prompt : n_prompt + self.gen_length]]

    def _fill(self, row: Tensor, start: int) -> None:
        """Commit the surest masks of the block from `start` on, until there is none."""
        block = row[start : start + self.length]
        for count in self.counts:
            masked = block == self.token_ids.mask
            n_masked = int(masked.sum())
            if n_masked == 0:
                return
            logits = self._forward(row, start, start + self.length, keeps=False).float()
            logits[:, self.token_ids.mask] = -torch.inf
            proposed = logits.argmax(-1)
            confidence = logits.softmax(-1).gather(1, proposed[:, None]).squeeze(1)
            confidence = torch.where(masked, confidence, -torch.inf)
            surest_first = confidence.argsort(descending=True, stable=True)
            chosen = surest_first[: min(count, n_masked)]
            block[chosen] = proposed[chosen]

    def _forward(self, row: Tensor, start: int, end: int, *, keeps: bool) -> Tensor:
        """Logits of the tokens from `start` to `end`, of whole blocks, given those kept before."""
        positions = torch.arange(start, end, device=self.device)
        blocks = torch.arange(end, device=self.device) // self.length
        allowed = blocks[None, :] <= blocks[start:end, None]
        out = self.network(
            row[None, start:end],
            position_ids=positions[None],
            attention_mask=allowed[None, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.token_forwards += end - start
        if not keeps:
            self.cache.crop(start - end)
        logits: Tensor = out.logits[0]
        return logits


def _stock(model: MaskedDiffusionModel) -> Any:
    """The same weights in the stock class as transformers runs it."""
    config = copy.deepcopy(model.network.config)
    config._attn_implementation = "sdpa"
    with torch.device(model.device):
        network = type(model.network)(config).to(model.dtype)
    network.load_state_dict(model.network.state_dict())
    network.model.rotary_emb = model.network.model.rotary_emb
    return network.eval()


def loop_over(model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt]) -> Decoded:
    """The published loop, problem after problem."""
    loop = PublishedLoop(model, config)
    tokens = {prompt.problem.id: loop.decode(prompt) for prompt in prompts}
    return Decoded(tokens, loop.token_forwards)


def ours(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt], *, keeps: bool
) -> Decoded:
    """Our decoding on one canvas, everything recorded and graded."""
    budget = token_budget(model.device.type, config, Execution())
    phases = Phases(model.device)
    setup = Setup(model, config, keeps=keeps)
    decoder = setup.decoder(prompts, budget=budget, phases=phases)
    tokens = {}
    for finished in decoder.decode(iter(prompts)):
        tokens[finished.problem.id] = finished.columns["token"][-1].tolist()
    return Decoded(tokens, phases.tokens)


def config_of(model: MaskedDiffusionModel, name: str, **settings: Any) -> RunConfig:
    """A run's settings with the checkpoint's own below those given."""
    dtype = str(model.dtype).removeprefix("torch.")
    return resolve(settings, checkpoint=model.sampler_defaults, model=name, dtype=dtype)


def measure(source: str, *, model_path: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """All ways in turns, `rounds` times: medians, each round's seconds, and whether the tokens are
    those of the published loop."""
    model = load_model(model_path)
    name = bundled_name(model_path) or str(model_path)
    config = config_of(model, name, policy="sdar")
    problems = list(enumerate(read_problems(source).problems))
    prompts = in_drawing_order(prompts_of(problems, model, config).prompts)
    ways: dict[str, Callable[[], Decoded]] = {
        LOOP: lambda: loop_over(model, config, prompts),
        "ours, kept": lambda: ours(model, config, prompts, keeps=True),
        "ours, nothing kept": lambda: ours(model, config, prompts, keeps=False),
    }
    peer_of = dict.fromkeys(ways, LOOP)
    if importlib.util.find_spec("diffusers") is not None:
        of_llada2 = config_of(model, name, policy="llada2", gen_length=config.gen_length)
        ways |= {
            PIPELINE: lambda: Decoded(*diffusers_pipeline(model, of_llada2, prompts)),
            "ours, llada2, kept": lambda: ours(model, of_llada2, prompts, keeps=True),
        }
        peer_of |= dict.fromkeys([PIPELINE, "ours, llada2, kept"], PIPELINE)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    decoded: dict[str, Decoded] = {}
    load = []
    for _ in range(rounds):
        load.append(round(os.getloadavg()[0], 2))
        for way, decode in ways.items():
            began = time.perf_counter()
            decoded[way] = decode()
            seconds[way].append(round(time.perf_counter() - began, 3))
    return {
        "command": " ".join(["python -m diffengine.bench.blocks", *sys.argv[1:]]),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(model.device),
            "load_average_before": load,
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": name,
        "problems": {"source": source, "count": len(prompts)},
        "shape": {
            "gen_length": config.gen_length,
            "block_length": config.positions_at_once,
            "prompt_tokens": statistics.mean(len(prompt.token_ids) for prompt in prompts),
        },
        "ways": {
            way: {
                "seconds": seconds[way],
                "problems_per_hour": round(3600 * len(prompts) / statistics.median(seconds[way])),
                "token_forwards_per_problem": round(result.token_forwards / len(prompts), 1),
                "tokens_identical_to": peer_of[way],
                "tokens_identical": result.tokens == decoded[peer_of[way]].tokens,
            }
            for way, result in decoded.items()
        },
    }


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default="generated:60")
    parser.add_argument("--model", type=Path, default=BUNDLED_BLOCK)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    result = measure(args.problems, model_path=args.model, rounds=args.rounds)
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    device = result["machine"]["device"].partition(":")[0]
    out = args.out or RESULTS / f"blocks-{device}.json"
    out.write_text(text + "\n")


if __name__ == "__main__":
    main()
