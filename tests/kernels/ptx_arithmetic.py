"""What single PTX instructions compute, in numpy, each with the sentence of the PTX ISA (9.1,
section 9.7) it follows.

`TABLE[name]` is (kinds of the sources, function). Kinds: f float32, h bfloat16 bits, s/u 32 bits
signed or not, S/U 64 bits, w 16 bits, p predicate. Every float32 result that is NaN is the
canonical 0x7fffffff, as on the device.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Array = NDArray[Any]
BITS = {
    "f": np.dtype(np.uint32), "h": np.dtype(np.uint16), "s": np.dtype(np.uint32), "u": np.dtype(np.uint32),
    "S": np.dtype(np.uint64), "U": np.dtype(np.uint64), "w": np.dtype(np.uint16), "p": np.dtype(bool),
}  # fmt: skip
NUMBERS = BITS | {"f": np.dtype(np.float32), "s": np.dtype(np.int32), "S": np.dtype(np.int64)}
CANONICAL_NAN = np.uint32(0x7FFFFFFF)
SMALLEST_NORMAL = np.float32(2.0**-126)


def canonical(x: Floats) -> Floats:
    """NaN results have the bit pattern 0x7fffffff (CUDA programming guide, floating-point
    standard)."""
    return np.where(np.isnan(x), CANONICAL_NAN, x.astype(np.float32).view(np.uint32)).view(
        np.float32
    )


def flushed(x: Floats) -> Floats:
    """`.ftz`: subnormal inputs and results become zeros of their sign."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, np.copysign(np.float32(0), x), x)


def maximum(a: Floats, b: Floats) -> Floats:
    """max.f32: the other operand where one is NaN, NaN only where both are; +0 > -0."""
    larger = np.where((a > b) | ((a == b) & ~np.signbit(a)), a, b)
    return canonical(np.where(np.isnan(a), b, np.where(np.isnan(b), a, larger)))


def maximum_nan(a: Floats, b: Floats) -> Floats:
    """max.NaN.f32: NaN where either operand is."""
    return canonical(np.where(np.isnan(a) | np.isnan(b), np.float32(np.nan), maximum(a, b)))


def minimum(a: Floats, b: Floats) -> Floats:
    """min.f32: the mirror image of max.f32."""
    return canonical(-maximum(-a, -b))


def fused(a: Floats, b: Floats, c: Floats) -> Floats:
    """fma.rn.f32: a b + c in infinite precision, rounded once.

    The product of two float32 is exact in float64. Their sum with c is rounded to odd there, from
    which a second rounding to float32 gives what one rounding would have given (Boldo and Melquiond
    2008).
    """
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total = product + addend
    share = total - product
    error = (product - (total - share)) + (addend - share)
    inexact = np.isfinite(total) & np.isfinite(error) & (error != 0)
    even = (total.view(np.uint64) & np.uint64(1)) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return canonical(np.where(inexact & even, odd, total).astype(np.float32))


def fused_ftz(a: Floats, b: Floats, c: Floats) -> Floats:
    """fma.rn.ftz.f32."""
    return flushed(fused(flushed(a), flushed(b), flushed(c)))


def _moved(exact: Array, key: Floats, ulps: int) -> Floats:
    # By -ulps .. ulps units in the last place, chosen by a hash of the operand, where the result is
    # finite and not 0.
    rounded = exact.astype(np.float32)
    if not ulps:
        return canonical(rounded)
    hashed = (key.view(np.uint32) * np.uint32(2654435761)) >> np.uint32(16)
    steps = (hashed % np.uint32(2 * ulps + 1)).astype(np.int32) - ulps
    movable = np.isfinite(rounded) & (np.abs(rounded) >= SMALLEST_NORMAL)
    moved = (rounded.view(np.int32) + np.where(movable, steps, 0)).astype(np.int32).view(np.float32)
    return canonical(moved)


def exponential(a: Floats, *, ulps: int = 0) -> Floats:
    """ex2.approx.ftz.f32: -inf gives +0, a zero or a subnormal exactly 1, +inf +inf, NaN NaN; else
    within 2 ulp.

    A result below 2^-126 is flushed to zero.
    """
    operand = flushed(a)
    result = _moved(np.exp2(operand.astype(np.float64)), operand, ulps)
    return flushed(np.where(operand == 0, np.float32(1), result))


def quotient(a: Floats, b: Floats, *, ulps: int = 0) -> Floats:
    """div.full.f32: within 2 ulp over the full range; zeros, infinities and NaN as in IEEE 754."""
    return _moved(a.astype(np.float64) / b.astype(np.float64), a, ulps)


def square_root(a: Floats, *, ulps: int = 0) -> Floats:
    """sqrt.approx.ftz.f32: relative error 2^-23, about an ulp; -0 gives -0, a negative number
    NaN."""
    operand = flushed(a)
    return flushed(_moved(np.sqrt(operand.astype(np.float64)), operand, min(ulps, 1)))


def widened(half: Array) -> Floats:
    """cvt.f32.bf16: exact."""
    return (half.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _selected(a: Array, b: Array, chosen: Array) -> Array:
    return np.where(chosen, a, b)


def _shifted(shift: Callable[[Array, Array], Array], bits: int) -> Callable[[Array, Array], Array]:
    def apply(a: Array, count: Array) -> Array:
        small = np.minimum(count, bits - 1).astype(a.dtype)
        return (
            shift(a, small)
            if a.dtype.kind == "i"
            else np.where(count < bits, shift(a, small), 0).astype(a.dtype)
        )

    return apply


def _of_floats(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *operands: canonical(function(*operands))


Entry = tuple[str, Callable[..., Array]]
FLOAT: dict[str, Entry] = {
    "add.f32": ("ff", _of_floats(operator.add)),
    "sub.f32": ("ff", _of_floats(operator.sub)),
    "mul.f32": ("ff", _of_floats(operator.mul)),
    "fma.rn.f32": ("fff", fused),
    "fma.rn.ftz.f32": ("fff", fused_ftz),
    "fms.rn.f32": (
        "fff",
        lambda a, b, c: fused(a, b, -c),
    ),  # no PTX: what `contracted` makes of a difference
    "fnma.rn.f32": ("fff", lambda a, b, c: fused(-a, b, c)),
    "max.f32": ("ff", maximum),
    "max.NaN.f32": ("ff", maximum_nan),
    "min.f32": ("ff", minimum),
    "neg.f32": ("f", operator.neg),
    "abs.f32": ("f", np.abs),
    "abs.bf16x2": ("u", lambda a: a & np.uint32(0x7FFF7FFF)),
    "div.full.f32": ("ff", quotient),
    "ex2.approx.ftz.f32": ("f", exponential),
    "sqrt.approx.ftz.f32": ("f", square_root),
    "cvt.f32.bf16": ("h", widened),
    "cvt.rn.f32.s32": ("s", lambda a: a.astype(np.float32)),
    "selp.f32": ("ffp", _selected),
}
"""Everything that computes with a logit or with what was made of one."""
APPROXIMATE: dict[str, Callable[..., Array]] = {
    "ex2.approx.ftz.f32": exponential, "div.full.f32": quotient, "sqrt.approx.ftz.f32": square_root,
}  # fmt: skip
ORDERED: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


def _unordered(compare: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda a, b: compare(a, b) | np.isnan(a) | np.isnan(b)


def _comparisons() -> dict[str, Entry]:
    """setp: an ordered comparison is false where an operand is NaN, an unordered one (equ, ltu ...)
    true."""
    made: dict[str, Entry] = {}
    for name, compare in ORDERED.items():
        # numpy's != is true of a NaN, the ordered `ne` is not
        ordered = (lambda a, b: (a != b) & ~np.isnan(a) & ~np.isnan(b)) if name == "ne" else compare
        made[f"setp.{name}.f32"] = ("ff", ordered)
        made[f"setp.{name}u.f32"] = ("ff", _unordered(compare))
        made[f"setp.{name}.bf16"] = ("hh", lambda a, b, c=ordered: c(widened(a), widened(b)))
    made["setp.nan.f32"] = ("ff", lambda a, b: np.isnan(a) | np.isnan(b))
    made["setp.num.f32"] = ("ff", lambda a, b: ~np.isnan(a) & ~np.isnan(b))
    return made


COMPARISONS = _comparisons()


def _integers() -> dict[str, Entry]:
    made: dict[str, Entry] = {
        "and.pred": ("pp", operator.and_), "or.pred": ("pp", operator.or_), "xor.pred": ("pp", operator.xor),
        "not.pred": ("p", np.logical_not), "neg.s32": ("s", operator.neg),
        "mul.wide.s32": ("ss", lambda a, b: a.astype(np.int64) * b.astype(np.int64)),
        "mul.wide.u32": ("uu", lambda a, b: a.astype(np.uint64) * b.astype(np.uint64)),
        "mad.wide.s32": ("ssS", lambda a, b, c: a.astype(np.int64) * b.astype(np.int64) + c),
        "mad.wide.u32": ("uuU", lambda a, b, c: a.astype(np.uint64) * b.astype(np.uint64) + c),
        "cvt.s64.s32": ("s", lambda a: a.astype(np.int64)), "cvt.u64.u32": ("u", lambda a: a.astype(np.uint64)),
        "cvt.u32.u64": ("U", lambda a: a.astype(np.uint32)), "cvt.u16.u32": ("u", lambda a: a.astype(np.uint16)),
        "mul.wide.u16": ("ww", lambda a, b: a.astype(np.uint32) * b.astype(np.uint32)),
        "and.b16": ("ww", operator.and_), "not.b32": ("u", operator.invert),
        "selp.b16": ("wwp", _selected), "selp.b32": ("uup", _selected), "selp.b64": ("UUp", _selected),
    }  # fmt: skip
    for bits, signed, unsigned in (("32", "s", "u"), ("64", "S", "U")):
        for name, function in (("add", operator.add), ("sub", operator.sub), ("mul.lo", operator.mul),
                               ("min", np.minimum), ("max", np.maximum)):  # fmt: skip
            made[f"{name}.s{bits}"] = (signed * 2, function)
        for name, function in (("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)):
            made[f"{name}.b{bits}"] = (unsigned * 2, function)
        made[f"mad.lo.s{bits}"] = (signed * 3, lambda a, b, c: a * b + c)  # modulo 2^bits
        made[f"shl.b{bits}"] = (unsigned + "u", _shifted(np.left_shift, int(bits)))
        made[f"shr.s{bits}"] = (signed + "u", _shifted(np.right_shift, int(bits)))
        made[f"shr.u{bits}"] = (unsigned + "u", _shifted(np.right_shift, int(bits)))
        for name, compare in ORDERED.items():
            made[f"setp.{name}.s{bits}"] = (signed * 2, compare)
            made[f"setp.{name}.u{bits}"] = (unsigned * 2, compare)
            made[f"setp.{name}.b{bits}"] = (unsigned * 2, compare)
    return made


TABLE: dict[str, Entry] = FLOAT | COMPARISONS | _integers()
