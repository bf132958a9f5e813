"""A GPU's arithmetic in numpy: runs the PTX that triton compiled, one block of threads at a time.

Semantics of each instruction as the PTX ISA (9.1, section 9.7) documents them. An instruction that
is not in the tables is an error, never a guess. Threads go in lockstep; where a branch parts them,
those at the lowest instruction go first until the others are met. A barrier only checks that all
are there. Results that the ISA gives only to within 2 ulp (`ex2.approx`, `div.full`, `sqrt.approx`)
are moved by up to that much: `ulps` = 0 rounds correctly, any other number moves by a hash of the
operand's bits.

`contract` runs every `mul` without a rounding modifier that feeds an `add` or `sub` as one fused
multiply-add, which ptxas may do: the ISA lets such instructions "be optimized aggressively".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import ptx_arithmetic as arithmetic
from numpy.typing import NDArray

Bits = NDArray[Any]
WIDTHS = {
    "p": np.dtype(bool),
    "rs": np.dtype(np.uint16),
    "r": np.dtype(np.uint32),
    "rd": np.dtype(np.uint64),
}
SIZES = {
    "8": np.dtype(np.uint8),
    "16": np.dtype(np.uint16),
    "32": np.dtype(np.uint32),
    "64": np.dtype(np.uint64),
}
WARP = 32


class Instruction(NamedTuple):
    """One line: `@guard name operands`; braces of a vector operand are kept apart by the
    machine."""

    guard: str
    name: str
    operands: tuple[str, ...]


class Program(NamedTuple):
    """A parsed kernel: its instructions, where its labels point, and how many threads a block
    has."""

    code: list[Instruction]
    labels: dict[str, int]
    threads: int


def parse(text: str) -> Program:
    """The one kernel in a PTX file."""
    threads = int(re.search(r"\.reqntid (\d+)", text)[1])  # type: ignore[index]
    body = text[text.index("%bb.0:") :]
    code: list[Instruction] = []
    labels: dict[str, int] = {}
    for raw in body.splitlines():
        line = raw.split("//")[0].strip()
        label = re.fullmatch(r"(\$L_\w+):", line)
        if label:
            labels[label[1]] = len(code)
        found = re.fullmatch(r"(?:@(!?%p\d+)\s+)?([a-zA-Z][\w.:]*)\s*(.*?)\s*;", line)
        if found:
            operands = re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s]+", found[3])
            code.append(Instruction(found[1] or "", found[2], tuple(operands)))
    return Program(code, labels, threads)


def contracted(program: Program) -> Program:
    """The program with each `mul.f32` that an `add.f32` or `sub.f32` reads fused into it.

    Only where the product's register is written once, so that its factors are those of the sum's
    own turn.
    """
    writes: dict[str, int] = {}
    for one in program.code:
        for register in re.findall(r"%\w+", one.operands[0]) if one.operands else ():
            writes[register] = writes.get(register, 0) + 1
    products: dict[str, tuple[str, ...]] = {}
    starts = set(program.labels.values())
    code = []
    for position, one in enumerate(program.code):
        if position in starts or one.name.startswith("bra"):
            products.clear()
        changed = one
        if one.name == "mul.f32" and writes[one.operands[0]] == 1:
            products[one.operands[0]] = one.operands[1:]
        elif one.name in ("add.f32", "sub.f32"):
            d, a, b = one.operands
            if a in products:
                changed = Instruction(
                    "",
                    "fma.rn.f32" if one.name == "add.f32" else "fms.rn.f32",
                    (d, *products[a], b),
                )
            elif b in products:
                name = "fma.rn.f32" if one.name == "add.f32" else "fnma.rn.f32"
                changed = Instruction("", name, (d, *products[b], a))
        if one.operands:  # a factor overwritten ends what may be fused
            products = {
                p: f
                for p, f in products.items()
                if p == one.operands[0] or one.operands[0] not in f
            }
        code.append(changed)
    return Program(code, program.labels, program.threads)


class Memory:
    """Global memory: tensors at multiples of 256 bytes, with a gap after each; access outside of
    them is an error."""

    def __init__(self, size: int) -> None:
        size = (size + 511) // 256 * 256
        self.raw = np.full(size, 0xA5, np.uint8)
        self.allowed = np.zeros(size, bool)
        self.end = 256

    def place(self, values: NDArray[Any]) -> int:
        """Copy an array in and return its address."""
        data = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        address = self.end
        self.raw[address : address + data.size] = data
        self.allowed[address : address + data.size] = True
        self.end = (address + data.size + 511) // 256 * 256
        assert self.end <= self.raw.size, "the simulated memory is too small"
        return address

    def read(self, address: int, like: NDArray[Any]) -> NDArray[Any]:
        """The array at `address`, of the shape and dtype of `like`."""
        return self.raw[address : address + like.nbytes].view(like.dtype).reshape(like.shape).copy()


class Machine:
    """Runs blocks of one program over one memory."""

    def __init__(
        self, program: Program, memory: Memory, *, shared: int = 1 << 16, ulps: int = 0
    ) -> None:
        self.program, self.memory, self.ulps = program, memory, ulps
        self.shared_bytes = shared
        self.executed: set[str] = set()

    def launch(self, grid: tuple[int, int], parameters: list[int]) -> None:
        """Every block of the grid, one after the other."""
        with np.errstate(all="ignore"):
            for y in range(grid[1]):
                for x in range(grid[0]):
                    self._block((x, y), grid, parameters)

    def _block(self, block: tuple[int, int], grid: tuple[int, int], parameters: list[int]) -> None:
        threads = self.program.threads
        self.parameters = parameters
        self.registers: dict[str, Bits] = {}
        self.shared = np.zeros(self.shared_bytes, np.uint8)
        self.special = {
            "%tid.x": np.arange(threads, dtype=np.uint32),
            "%ctaid.x": np.full(threads, block[0], np.uint32),
            "%ctaid.y": np.full(threads, block[1], np.uint32),
            "%nctaid.y": np.full(threads, grid[1], np.uint32),
        }
        waiting = {0: np.ones(threads, bool)}
        while waiting:
            position = min(waiting)
            present = waiting.pop(position)
            one = self.program.code[position]
            self.executed.add(one.name)
            active = present & self._guard(one.guard)
            after = {position + 1: present}
            if one.name == "ret":
                after = {position + 1: present & ~active}
            elif one.name in ("bra", "bra.uni"):
                after = {
                    self.program.labels[one.operands[0]]: active,
                    position + 1: present & ~active,
                }
            else:
                self._step(one, present, active)
            for following, threads_there in after.items():
                if threads_there.any():
                    waiting[following] = threads_there | waiting.get(following, False)

    def _guard(self, guard: str) -> NDArray[np.bool_]:
        if not guard:
            return np.ones(self.program.threads, bool)
        value = self.registers[guard.lstrip("!")]
        return ~value if guard.startswith("!") else value

    def value(self, operand: str, kind: np.dtype[Any]) -> Bits:
        """The bits of a register, special register or immediate, as unsigned integers of one
        width."""
        if operand in self.registers:
            held = self.registers[operand]
            return held if held.dtype == kind else held.astype(kind)
        if operand in self.special:
            return self.special[operand]
        if operand == "global_smem":
            number = 0
        elif operand.startswith("0f"):
            number = int(operand[2:], 16)
        else:
            number = int(operand, 0)
        if kind == np.dtype(bool):
            return np.full(self.program.threads, bool(number))
        return np.full(self.program.threads, number & (256**kind.itemsize - 1), np.uint64).astype(
            kind
        )

    def write(self, register: str, value: NDArray[Any], active: NDArray[np.bool_]) -> None:
        """Set a register where threads are active."""
        match = re.fullmatch(r"%(p|rs|rd|r)\d+", register)
        assert match is not None, register
        kind = WIDTHS[match[1]]
        bits = (
            value
            if kind == np.dtype(bool) or value.dtype.kind == "u"
            else value.view(f"u{value.dtype.itemsize}")
        )
        new = bits.astype(kind)
        if not active.all():
            old = self.registers.get(register, np.zeros_like(new))
            new = np.where(active, new, old)
        self.registers[register] = new

    def _step(
        self, one: Instruction, present: NDArray[np.bool_], active: NDArray[np.bool_]
    ) -> None:
        name = one.name
        family = name.split(".")[0]
        if family in ("ld", "st"):
            self._memory(one, active)
        elif family == "bar":
            assert present.all(), "a barrier that not every thread reaches"
        elif family == "mov":
            self._move(one, active)
        elif family in ("shfl", "redux"):
            assert active.all(), one
            self.write(one.operands[0], self._exchange(one), active)
        else:
            known = arithmetic.TABLE.get(name)
            assert known is not None, (
                f"{name} is not an instruction whose semantics the model knows"
            )
            kinds, function = known
            arguments = [
                self.value(o, arithmetic.BITS[k]).view(arithmetic.NUMBERS[k])
                for o, k in zip(one.operands[1:], kinds, strict=True)
            ]
            approximate: Callable[..., NDArray[Any]] | None = arithmetic.APPROXIMATE.get(name)
            result = (
                approximate(*arguments, ulps=self.ulps) if approximate else function(*arguments)
            )
            self.write(one.operands[0], result, active)

    def _move(self, one: Instruction, active: NDArray[np.bool_]) -> None:
        target, source = one.operands
        wide = SIZES["32"]
        if target.startswith("{"):
            low, high = re.findall(r"%\w+", target)
            bits = self.value(source, wide)
            self.write(low, (bits & 0xFFFF).astype(np.uint16), active)
            self.write(high, (bits >> 16).astype(np.uint16), active)
        elif source.startswith("{"):
            halves = [h.strip() for h in source.strip("{}").split(",")]
            low_bits, high_bits = (self.value(h, SIZES["16"]).astype(np.uint32) for h in halves)
            self.write(target, low_bits | (high_bits << np.uint32(16)), active)
        else:
            kind = WIDTHS[re.fullmatch(r"%(p|rs|rd|r)\d+", target)[1]]  # type: ignore[index]
            self.write(target, self.value(source, kind), active)

    def _exchange(self, one: Instruction) -> Bits:
        bits = self.value(one.operands[1], SIZES["32"]).reshape(-1, WARP)
        if one.name == "shfl.sync.bfly.b32":
            assert one.operands[3:] == ("31", "-1"), one
            return bits[:, np.arange(WARP) ^ int(one.operands[2])].reshape(-1)
        signed = bits.view(np.int32)
        reduce = {"redux.sync.min.s32": np.min, "redux.sync.add.s32": np.sum}[one.name]
        result = reduce(signed, axis=1, keepdims=True).astype(np.int32)
        return np.broadcast_to(result, signed.shape).reshape(-1).copy()

    def _memory(self, one: Instruction, active: NDArray[np.bool_]) -> None:
        action, space, *vector, kind_name = one.name.split(".")
        kind = SIZES[kind_name.lstrip("bsu")]
        if space == "param":
            index = int(re.search(r"_param_(\d+)", one.operands[1])[1])  # type: ignore[index]
            number = self.parameters[index]
            signed = kind_name == "s32" and one.operands[0].startswith("%rd")
            width = 8 if signed else kind.itemsize
            bits = np.full(self.program.threads, number & (256**width - 1), np.uint64)
            self.write(one.operands[0], bits, active)
            return
        address_at, registers_at = (1, 0) if action == "ld" else (0, 1)
        base, offset = re.fullmatch(
            r"\[\s*([%\w]+)\s*(?:\+\s*(\d+)\s*)?\]", one.operands[address_at]
        ).groups()  # type: ignore[union-attr]
        address = self.value(base, SIZES["64"]).astype(np.int64) + int(offset or 0)
        memory = self.memory.raw if space == "global" else self.shared
        size = kind.itemsize
        for count, register in enumerate(re.findall(r"[%\w]+", one.operands[registers_at])):
            place = (address + count * size)[active]
            assert (
                (place - count * size) % (size * (int(vector[0][1:]) if vector else 1)) == 0
            ).all(), f"misaligned: {one}"
            if space == "global":
                assert self.memory.allowed[place].all(), f"outside of every tensor: {one}"
            cells = memory.view(kind)
            if action == "st":
                cells[place // size] = self.value(register, kind)[active]
                continue
            loaded = np.zeros(self.program.threads, kind)
            loaded[active] = cells[place // size]
            self.write(register, loaded, active)
