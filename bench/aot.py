"""Ahead-of-time compile of every Triton kernel for GPUs that are not there, and what their machine
code looks like.

    python -m diffengine.bench.aot [sm_80 sm_90 sm_100]

One JSON line per kernel and architecture: registers, spilled bytes, barriers inside loops, and of
the loop over whole tiles the width of its loads and its instructions per logit (per pair of logits
for the comparison). Read from the machine code with the tools that triton brings. Shows what the
compiler made, not how fast it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = (80, 90, 100)


class Case(NamedTuple):
    """A kernel with its compile-time choices; `per_lane` logits (or pairs) a lane takes in one turn
    of the loop."""

    name: str
    kernel: str
    constants: dict[str, Any]
    warps: int
    per_lane: int
    logits: str = "bf16"


def _sweep(kl: bool, *, lanes: int = 1024, moments: bool = True, **flags: bool) -> dict[str, Any]:
    every = {"LANE_MAXIMA": True, "KEEP": kl} | flags
    return {"LANES": lanes, "MOMENTS": moments, "KL": kl} | every


FINISH = {"ROWS": 32, "MOMENTS": True, "KL": True}
CASES = (
    Case("stats", "sweep:sweep", _sweep(False, moments=False), 4, 4),
    Case("stats+moments", "sweep:sweep", _sweep(False), 4, 4),
    Case("stats fp32", "sweep:sweep", _sweep(False, lanes=512, moments=False), 4, 4, "fp32"),
    Case("stats+kl", "sweep:sweep", _sweep(True, moments=False, KEEP=False), 4, 2),
    Case("stats+kl+moments+keep", "sweep:sweep", _sweep(True), 4, 2),
    Case("stats+kl+moments+keep fp32", "sweep:sweep", _sweep(True, lanes=512), 4, 2, "fp32"),
    Case("finish", "finish:finish", FINISH, 1, 0),
    Case("topk 16", "topk:topk_from_lanes", {"LANES": 1024, "K": 16, "DEPTH": 128}, 1, 0),
    Case("gumbel fp32", "gumbel:gumbel_sweep", {"LANES": 128, "EXACT": False}, 4, 4),
    Case("gumbel fp64", "gumbel:gumbel_sweep", {"LANES": 128, "EXACT": True}, 4, 4),
    Case(
        "add+norm 4096", "layers:add_rms_norm_rows", {"EPS": 1e-5, "ADD": True, "WIDTH": 4096}, 8, 0
    ),
    Case("norm 4096", "layers:add_rms_norm_rows", {"EPS": 1e-5, "ADD": False, "WIDTH": 4096}, 8, 0),
    Case("rotate 128", "layers:rotate_heads", {"GROUP": 8, "HALF": 64}, 4, 0),
    Case("gate", "layers:gate_values", {"WIDTH": 2048}, 4, 0),
)
MODEL_DTYPE = ("X", "Y", "VALUES", "STATES", "UPDATE", "WEIGHT", "TOTAL", "OUT", "GATE", "UP")
"""Arguments that are tensors of the case's own dtype."""
TYPES = {
    "PLACE": "*i64",
    "LSE_Y": "*fp32",
    "PART": "*fp32",
    "ARG": "*i32",
    "LANE_MAX": "*fp32",
    "TARGETS": "*i64",
    "FLOATS": "*fp32",
    "TOP_ID": "*i64",
    "TARGET_LOGPROB": "*fp32",
    "STATUS": "*u8",
    "IDS": "*i64",
    "COUNTER": "*i64",
    "BEST": "*fp32",
    "stride_x": "i32",
    "stride_y": "i32",
    "COS": "*fp32",
    "SIN": "*fp32",
    "TEMPERATURE": "*fp64",
    "seed_low": "i32",
    "seed_high": "i32",
}
ALIGNED = {"stride_x", "stride_y", "per_part", "V", "D", "size", "heads", "number"}


def compile_case(case: Case, arch: int) -> dict[str, Any]:
    """Compile one kernel for one architecture and read its machine code; needs triton, not a
    GPU."""
    import importlib

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ..kernels.triton_rows.launch import sweep_options

    module, _, function = case.kernel.partition(":")
    kernel = getattr(importlib.import_module(f"diffengine.kernels.triton_rows.{module}"), function)
    names = kernel.arg_names
    types = TYPES | {name: f"*{case.logits}" for name in MODEL_DTYPE}
    if case.name.startswith("gumbel fp64"):
        types["BEST"] = "*fp64"
    signature = {n: "constexpr" if n in case.constants else types.get(n, "i32") for n in names}
    attrs = {
        (i,): [["tt.divisibility", 16]]
        for i, n in enumerate(names)
        if n in ALIGNED or signature[n].startswith("*")
    }
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(k),): v for k, v in case.constants.items()},
        attrs=attrs,
    )
    options: dict[str, Any] = {"num_warps": case.warps, "enable_fp_fusion": True}
    if function == "sweep":
        options |= sweep_options({"bf16": 2, "fp32": 4}[case.logits], kl=case.constants["KL"])
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    facts = inspect(compiled.asm["cubin"], case)
    return {"kernel": case.name, "sm": arch, "triton": triton.__version__, **facts}


def inspect(cubin: bytes, case: Case) -> dict[str, Any]:
    """Registers, spills, and the loops of a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        usage = _tool("-res-usage", file.name)
        sass = _tool("-sass", file.name)
    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", sass)
    code = [(int(at, 16), text) for at, text in lines]
    loops = _loops(code)
    found = re.search(r"REG:(\d+).*?STACK:(\d+)", usage)
    assert found is not None, usage
    elements = case.per_lane * case.constants.get("LANES", 0) / (32 * case.warps)
    sweeping = [loop for loop in loops if len(loop) and "LANE_MAXIMA" in case.constants]
    fast = [
        loop
        for loop in sweeping
        if min((load_bits(t) for t in loop if "LDG" in t), default=0) == 128
    ]
    # A kernel without a loop is looked at whole.
    body = max(fast or loops, key=len, default=[text for _, text in code])
    return {
        "registers": int(found[1]),
        "spilled": int(found[2]) + sum("STL" in text or "LDL" in text for _, text in code),
        "loops": len(loops),
        "barriers_in_loop": sum("BAR." in text for loop in loops for text in loop),
        "load_bits": min((load_bits(text) for text in body if "LDG" in text), default=0),
        "instructions_per_logit": round(len(body) / elements, 1) if elements else None,
        "instructions": len(code),
    }


def _loops(code: list[tuple[int, str]]) -> list[list[str]]:
    """The instructions of each innermost backward branch."""
    spans = []
    for at, text in code:
        branch = re.search(r"\bBRA\b.*?0x([0-9a-f]+)", text)
        if branch and int(branch[1], 16) < at:
            spans.append((int(branch[1], 16), at))
    inner = [s for s in spans if not any(o != s and o[0] >= s[0] and o[1] <= s[1] for o in spans)]
    return [[text for at, text in code if first <= at <= last] for first, last in inner]


def load_bits(text: str) -> int:
    """The width in bits of one global load instruction."""
    found = re.search(r"LDG\.E(?:\.\w+)*?\.(128|64|U16|S16|U8|S8|256)", text)
    return int(found[1].strip("US")) if found else 32


def _tool(flag: str, path: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return subprocess.run(
        [str(tool), flag, path], capture_output=True, text=True, check=True
    ).stdout


def main(names: list[str]) -> None:
    """Compile every case for the named architectures and write one JSON line each."""
    for arch in [int(name.removeprefix("sm_")) for name in names] or ARCHITECTURES:
        for case in CASES:
            sys.stdout.write(json.dumps(compile_case(case, arch)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
