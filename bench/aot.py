"""Ahead-of-time compile of every Triton kernel for GPUs that are not there, and what their machine
code looks like.

    python -m diffengine.bench.aot [sm_80 sm_90 sm_100]

One JSON line per kernel and architecture: registers, spilled bytes, barriers inside loops, and of
the loop over whole tiles the width of its loads and its instructions per logit (per pair of logits
for the comparison). Read from the machine code with the tools that triton brings. Shows what the
compiler made, not how fast it is.
"""

from __future__ import annotations

import importlib
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
    warps: int = 4
    per_lane: int = 0
    logits: str = "bf16"


def _stats(name: str, *, moments: bool = False, logits: str = "bf16") -> Case:
    """The sweep of one step alone."""
    constants = _sweep_constants(logits) | {"MOMENTS": moments, "KL": False, "KEEP": False}
    return Case(name, "sweep:sweep", constants, per_lane=4, logits=logits)


def _compared(name: str, *, everything: bool = False, logits: str = "bf16") -> Case:
    """The sweep with KL; with moments and the ring if `everything` is asked for."""
    constants = _sweep_constants(logits) | {"MOMENTS": everything, "KL": True, "KEEP": everything}
    return Case(name, "sweep:sweep", constants, per_lane=2, logits=logits)


def _sweep_constants(logits: str) -> dict[str, Any]:
    lanes = 1024 if logits == "bf16" else 512
    return {"LANES": lanes, "LANE_MAXIMA": True}


def _norm(name: str, *, add: bool) -> Case:
    constants = {"EPS": 1e-5, "ADD": add, "WIDTH": 4096}
    return Case(name, "layers:add_rms_norm_rows", constants, warps=8)


def _gumbel(name: str, *, exact: bool) -> Case:
    constants = {"LANES": 128, "EXACT": exact}
    return Case(name, "gumbel:gumbel_sweep", constants, per_lane=4)


FINISH = {"ROWS": 32, "MOMENTS": True, "KL": True}
TOPK = {"LANES": 1024, "K": 16, "DEPTH": 128}
CASES = (
    _stats("stats"),
    _stats("stats+moments", moments=True),
    _stats("stats fp32", logits="fp32"),
    _compared("stats+kl"),
    _compared("stats+kl+moments+keep", everything=True),
    _compared("stats+kl+moments+keep fp32", everything=True, logits="fp32"),
    Case("finish", "finish:finish", FINISH, warps=1),
    Case("topk 16", "topk:topk_from_lanes", TOPK, warps=1),
    _gumbel("gumbel fp32", exact=False),
    _gumbel("gumbel fp64", exact=True),
    _norm("add+norm 4096", add=True),
    _norm("norm 4096", add=False),
    Case("rotate 128", "layers:rotate_heads", {"GROUP": 8, "HALF": 64}),
    Case("gate", "layers:gate_values", {"WIDTH": 2048}),
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


def kernel_of(case: Case) -> Any:
    """The kernel that a case compiles; needs triton."""
    module, _, function = case.kernel.partition(":")
    rows = importlib.import_module(f"diffengine.kernels.triton_rows.{module}")
    return getattr(rows, function)


def compile_case(case: Case, arch: int) -> dict[str, Any]:
    """Compile one kernel for one architecture and read its machine code; needs triton, not a
    GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = kernel_of(case)
    names = kernel.arg_names
    signature = _signature(case, names)
    attributes = {}
    for position, name in enumerate(names):
        if name in ALIGNED or signature[name].startswith("*"):
            attributes[(position,)] = [["tt.divisibility", 16]]
    constants = {(names.index(name),): value for name, value in case.constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    target = GPUTarget("cuda", arch, 32)
    compiled = triton.compile(source, target=target, options=_options(case))
    figures = inspect(compiled.asm["cubin"], case)
    return {"kernel": case.name, "sm": arch, "triton": triton.__version__, **figures}


def _signature(case: Case, names: list[str]) -> dict[str, str]:
    types = TYPES | {name: f"*{case.logits}" for name in MODEL_DTYPE}
    if case.constants.get("EXACT"):
        types["BEST"] = "*fp64"
    types |= dict.fromkeys(case.constants, "constexpr")
    return {name: types.get(name, "i32") for name in names}


def _options(case: Case) -> dict[str, Any]:
    from ..kernels.triton_rows.launch import sweep_options

    options: dict[str, Any] = {"num_warps": case.warps, "enable_fp_fusion": True}
    if case.kernel.startswith("sweep"):
        itemsize = {"bf16": 2, "fp32": 4}[case.logits]
        options |= sweep_options(itemsize, kl=case.constants["KL"])
    return options


def inspect(cubin: bytes, case: Case) -> dict[str, Any]:
    """Registers, spills, and the loops of a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        usage = _tool("-res-usage", file.name)
        sass = _tool("-sass", file.name)
    used = re.search(r"REG:(\d+).*?STACK:(\d+)", usage)
    assert used is not None, usage

    lines = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", sass)
    code = [(int(address, 16), text) for address, text in lines]
    loops = _loops(code)
    barriers = sum("BAR." in text for loop in loops for text in loop)
    spills = sum("STL" in text or "LDL" in text for _, text in code)
    body = _fast_loop(loops, case) or [text for _, text in code]

    lanes = case.constants.get("LANES", 0)
    elements = case.per_lane * lanes / (32 * case.warps)
    per_logit = None
    if elements:
        per_logit = round(len(body) / elements, 1)
    return {
        "registers": int(used[1]),
        "spilled": int(used[2]) + spills,
        "loops": len(loops),
        "barriers_in_loop": barriers,
        "load_bits": narrowest_load(body),
        "instructions_per_logit": per_logit,
        "instructions": len(code),
    }


def _fast_loop(loops: list[list[str]], case: Case) -> list[str]:
    """The longest loop: of a sweep, among those that load 16 bytes; empty where there is none."""
    wide = []
    if "LANE_MAXIMA" in case.constants:
        wide = [loop for loop in loops if narrowest_load(loop) == 128]
    return max(wide or loops, key=len, default=[])


def _loops(code: list[tuple[int, str]]) -> list[list[str]]:
    """The instructions of each innermost backward branch."""
    spans = []
    for address, text in code:
        branch = re.search(r"\bBRA\b.*?0x([0-9a-f]+)", text)
        if branch is None:
            continue
        target = int(branch[1], 16)
        if target < address:
            spans.append((target, address))
    loops = []
    for span in spans:
        if not any(_is_inside(other, span) for other in spans):
            first, last = span
            loops.append([text for address, text in code if first <= address <= last])
    return loops


def _is_inside(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    """Whether one loop lies in another one."""
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


def narrowest_load(code: list[str]) -> int:
    """The fewest bits that an instruction of `code` loads from global memory; 0 where none does."""
    loads = [text for text in code if "LDG" in text]
    return min(map(load_bits, loads), default=0)


def load_bits(text: str) -> int:
    """The width in bits of one global load instruction."""
    width = re.search(r"LDG\.E(?:\.\w+)*?\.(128|64|U16|S16|U8|S8|256)", text)
    if width is None:
        return 32
    return int(width[1].strip("US"))


def _tool(flag: str, path: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    command = [str(tool), flag, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def main(names: list[str]) -> None:
    """Compile every case for the named architectures and write one JSON line each."""
    architectures = [int(name.removeprefix("sm_")) for name in names]
    for arch in architectures or ARCHITECTURES:
        for case in CASES:
            row = compile_case(case, arch)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
