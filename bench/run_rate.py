"""Problems per hour of a whole run against the published loop at batch 1, in one process, at
identical tokens.

The published loop only decodes; the run also records every statistic and writes its shards. Also:
share of the time by phase, MFU, scaling over workers, the layers compiled against plain, and the
parts of a forward pass. `python -m diffengine.bench.run_rate --problems generated:40 --workers 2`
prints and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from ..engine.config import RunConfig, resolve
from ..engine.decoding.canvas import Packed
from ..engine.decoding.setup import Setup
from ..engine.models.attention import packing_of
from ..engine.models.compiled import compiled
from ..engine.models.forward import Forward
from ..engine.models.loading import MaskedDiffusionModel, load_model
from ..engine.policies.commits import transfer_counts
from ..engine.policies.llada_options import LLaDAOptions
from ..engine.problems.read import ProblemSet, read_problems
from ..engine.prompts.prompt import Prompt, build_prompt
from ..engine.runs.device import by_length, in_drawing_order
from ..engine.runs.execution import TOKEN_BUDGET, Execution, token_budget
from ..engine.runs.plan import prompts_of
from ..engine.runs.run import BUNDLED, run
from ..engine.runs.session import read_sessions
from ..engine.store import open_run

RESULTS = Path(__file__).parent / "results"


@torch.inference_mode()
def published_loop(model: MaskedDiffusionModel, config: RunConfig, prompt: Prompt) -> list[int]:
    """Nie et al. 2025, Algorithm 5, greedy, batch 1, logits of the whole canvas each step: the
    generated tokens."""
    options = config.sampler
    assert isinstance(options, LLaDAOptions)
    mask = model.token_ids.mask
    start = len(prompt.token_ids)
    canvas = [*prompt.token_ids, *[mask] * config.gen_length]
    x = torch.tensor(canvas, device=model.device)
    positions = torch.arange(len(x), device=model.device)
    packing = packing_of([len(x)], model.device)
    for block in range(options.n_blocks):
        end = start + (block + 1) * options.block_length
        for count in transfer_counts(options.block_length, options.steps_per_block):
            hidden = model.hidden(x, positions, packing)
            logits = (hidden @ model.head_weight.T).float()
            logits[:, mask] = -torch.inf
            proposed = logits.argmax(-1)
            confidence = logits.softmax(-1).gather(1, proposed[:, None]).squeeze(1)
            confidence[end:] = -torch.inf
            confidence = torch.where(x == mask, confidence, -torch.inf)
            surest_first = confidence.argsort(descending=True, stable=True)
            chosen = surest_first[:count]
            x[chosen] = proposed[chosen]
    return [int(i) for i in x[start:]]


def measure(source: str, *, model_path: Path, workers: list[int]) -> dict[str, Any]:
    """One result: both loops on one device, then runs on several workers, start of Ray included and
    told apart."""
    model = load_model(model_path)
    problems = read_problems(source)
    name = "bundled" if model_path == BUNDLED else str(model_path)
    dtype = str(model.dtype).removeprefix("torch.")
    config = resolve({}, checkpoint=model.sampler_defaults, model=name, dtype=dtype)
    prompts = []
    for i, problem in enumerate(problems.problems):
        prompts.append(
            build_prompt(problem, i, model, style=config.prompt_style, gen_length=config.gen_length)
        )
    published_loop(model, config, prompts[0])
    started = time.perf_counter()
    tokens = [published_loop(model, config, prompt) for prompt in prompts]
    reference = time.perf_counter() - started
    result: dict[str, Any] = {
        "command": " ".join(["python -m diffengine.bench.run_rate", *sys.argv[1:]]),
        "machine": _machine(model),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "model": name,
        "problems": {"source": source, "count": len(prompts)},
        "shape": {
            "steps": config.steps,
            "gen_length": config.gen_length,
            "block_length": config.as_dict()["block_length"],
        },
        "published_loop_batch_1": _rate(len(prompts), reference),
        "decoding_alone": decoding_alone(model, config, in_drawing_order(prompts)),
    }
    rows = []
    for n in workers:
        rows.append(_run_on(problems, model, n, tokens, reference))
    for n, row in zip(workers, rows, strict=True):
        result[f"run_{n}_workers"] = row
        if n != workers[0]:
            ratio = rows[0]["decoding_seconds"] / row["decoding_seconds"]
            row["decoding_over_one_worker"] = round(ratio, 3)
    return result


def _machine(model: MaskedDiffusionModel) -> dict[str, Any]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "load_average_before": os.getloadavg(),
    }


def _run_on(
    problems: ProblemSet,
    model: MaskedDiffusionModel,
    workers: int,
    tokens: list[list[int]],
    reference: float,
) -> dict[str, Any]:
    """A whole run on so many workers, against the published loop's `tokens` and `reference`
    seconds."""
    device = str(model.device) if workers == 1 else model.device.type
    execution = Execution(device=device, workers=workers)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.perf_counter()
        run(problems, out=out, model=model, execution=execution)
        seconds = time.perf_counter() - started
        last_tokens = open_run(out)["token"][...][:, -1]
        identical = last_tokens.tolist() == tokens
        return {
            **_rate(len(tokens), seconds),
            "tokens_identical_to_the_published_loop": identical,
            "over_the_published_loop": round(reference / seconds, 3),
            **_account(out, len(tokens), reference),
        }


def decoding_alone(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt], *, rounds: int = 3
) -> dict[str, Any]:
    """The published loop and our decoding in turns, in this process, nothing written: medians and
    each round's seconds.

    Ours records every statistic and grades. The load average stands beside each round: above 1, or
    so, a ratio is of the machine's other work too.
    """
    loop = []
    ours = []
    load = []
    identical = True
    for _ in range(rounds):
        load.append(round(os.getloadavg()[0], 2))
        started = time.perf_counter()
        expected = {}
        for prompt in prompts:
            expected[prompt.problem.id] = published_loop(model, config, prompt)
        loop.append(time.perf_counter() - started)

        started = time.perf_counter()
        tokens = _decoded(model, config, prompts)
        ours.append(time.perf_counter() - started)
        identical = identical and tokens == expected
    ratio = statistics.median(loop) / statistics.median(ours)
    return {
        "published_loop_seconds": [round(seconds, 3) for seconds in loop],
        "decoding_seconds": [round(seconds, 3) for seconds in ours],
        "load_average_before": load,
        "tokens_identical": identical,
        "median_over_median": round(ratio, 3),
    }


def _decoded(
    model: MaskedDiffusionModel, config: RunConfig, prompts: list[Prompt]
) -> dict[str, list[int]]:
    """The last tokens of every problem, by its id."""
    budget = token_budget(model.device.type, config, Execution())
    decoder = Setup(model, config).decoder(prompts, budget=budget)
    tokens = {}
    for finished in decoder.decode(iter(prompts)):
        tokens[finished.problem.id] = finished.columns["token"][-1].tolist()
    return tokens


def _account(out: Path, count: int, reference: float) -> dict[str, Any]:
    """What the run's own record says: decoding apart from start and end, its share by phase, MFU,
    and the floor: the seconds that its matrix products would take at the measured rate of a large
    one."""
    sessions = (out / "sessions.jsonl").read_text().splitlines()
    workers = json.loads(sessions[-1])["workers"]
    records = list(workers.values())
    busy = [sum(record["seconds"].values()) for record in records]
    longest = max(busy)
    total = sum(busy)
    floor = max(record["flops"] / record["gemm_flops_per_second"] for record in records)
    shares = {}
    for phase in records[0]["seconds"]:
        seconds = sum(record["seconds"][phase] for record in records)
        shares[phase] = round(seconds / total, 4)
    return {
        "decoding_seconds": round(longest, 3),
        "decoding_problems_per_hour": round(count / longest * 3600, 1),
        "decoding_over_the_published_loop": round(reference / longest, 3),
        "share_by_phase": shares,
        "floor_seconds": round(floor, 3),
        "floor_over_the_published_loop": round(reference / floor, 3),
        "mfu_share_of_gemm": read_sessions(out)[-1]["mfu_share_of_gemm"],
        "workers": workers,
    }


def _full_canvas(model: MaskedDiffusionModel, source: str, *, budget: int | None = None) -> Packed:
    dtype = str(model.dtype).removeprefix("torch.")
    config = resolve({}, checkpoint=model.sampler_defaults, model="", dtype=dtype)
    problems = list(enumerate(read_problems(source).problems))
    prompts, *_ = prompts_of(problems, model, config)
    prompts = by_length(prompts)
    budget = budget or token_budget(model.device.type, config, Execution())
    decoder = Setup(model, config).decoder(prompts, budget=budget)
    canvas = decoder.canvas
    canvas.fill(iter(prompts))
    return canvas.pack()


def _seconds(forward: Forward, packed: Packed) -> float:
    began = time.perf_counter()
    states = forward.hidden_read(packed.token_ids, packed.positions, packed.packing, packed.reads)
    states.sum().item()
    return time.perf_counter() - began


def compiled_over_plain(model: MaskedDiffusionModel, source: str) -> dict[str, Any]:
    """Seconds of the plain network over those of the compiled layers on the same full canvas, warm,
    in turns."""
    packed = _full_canvas(model, source)
    plain = Forward(model.network)
    layers = compiled(model, most_tokens=TOKEN_BUDGET[model.device.type]).forward
    first = _seconds(layers, packed)
    plain_seconds = []
    compiled_seconds = []
    for _ in range(8):
        plain_seconds.append(_seconds(plain, packed))
        compiled_seconds.append(_seconds(layers, packed))
    ratio = min(plain_seconds) / min(compiled_seconds)
    return {
        "plain_over_compiled": round(ratio, 3),
        "first_pass_seconds": round(first, 1),
    }


def forward_in_parts(model: MaskedDiffusionModel, source: str) -> dict[str, Any]:
    """Microseconds a token at several budgets, and each operation's share of a forward pass over a
    full canvas."""
    return {
        "microseconds_per_token": _token_costs(model, source),
        "share_by_operation": _operation_shares(model, source),
    }


def _token_costs(model: MaskedDiffusionModel, source: str) -> dict[int, float]:
    cost = {}
    plain = Forward(model.network)
    for budget in (512, 1024, 2048, 4096):
        packed = _full_canvas(model, source, budget=budget)
        seconds = min(_seconds(plain, packed) for _ in range(8))
        per_token = seconds / len(packed.token_ids)
        cost[budget] = round(per_token * 1e6, 1)
    return cost


def _operation_shares(model: MaskedDiffusionModel, source: str) -> dict[str, float]:
    """Of the twelve longest operations."""
    from torch.profiler import ProfilerActivity, profile

    plain = Forward(model.network)
    packed = _full_canvas(model, source)
    activity = ProfilerActivity.CPU
    if model.device.type == "cuda":
        activity = ProfilerActivity.CUDA
    with profile(activities=[activity]) as profiler:
        for _ in range(5):
            _seconds(plain, packed)
    times = {}
    for event in profiler.key_averages():
        times[event.key] = event.self_device_time_total or event.self_cpu_time_total
    whole = sum(times.values())
    longest = sorted(times, key=lambda name: -times[name])[:12]
    return {name: round(times[name] / whole, 4) for name in longest}


def _rate(count: int, seconds: float) -> dict[str, float]:
    per_hour = count / seconds * 3600
    return {"seconds": round(seconds, 2), "problems_per_hour": round(per_hour, 1)}


def main() -> None:
    """Measure, write `bench/results/decode-<device>.json`, and say it on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", default="generated:40")
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[], help="also runs on so many workers, on Ray"
    )
    parser.add_argument("--profile", action="store_true", help="also the parts of a forward pass")
    parser.add_argument(
        "--compile", action="store_true", help="also the layers compiled against plain"
    )
    options = parser.parse_args()
    result = measure(options.problems, model_path=options.model, workers=[1, *options.workers])
    if options.compile:
        result["compile"] = compiled_over_plain(load_model(options.model), options.problems)
    if options.profile:
        result["forward"] = forward_in_parts(load_model(options.model), options.problems)
    device = result["machine"]["device"].split(":")[0]
    text = json.dumps(result, indent=2) + "\n"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"decode-{device}.json"
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
