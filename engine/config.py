"""What a run is: every choice that changes its results, checked once, with a fingerprint.

`RunConfig` is frozen and complete: defaults are resolved when it is built, never later. Knows no
model and no file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEED_SAMPLER = {"steps": 128, "gen_length": 128, "temperature": 0.0}
"""Defaults where neither the command line nor the checkpoint's generation_config.json says
anything."""

CHOICES = {
    "remasking": ("low_confidence", "random"),
    "numerics": ("default", "reference"),
    "prompt_style": ("chat", "raw"),
    "record": ("all", "masked"),
    "save_logits": ("none", "topk", "hidden", "full"),
    "dtype": ("float32", "bfloat16"),
    "logits_dtype": ("model", "float32", "bfloat16"),
}
ADDED_LATER = {"logits_dtype": "model"}
"""Settings that older runs do not name, with what those runs did; at that value they change no
fingerprint."""


class ConfigError(ValueError):
    """A setting that cannot be; the message says what, got, expected and what to do."""


@dataclass(frozen=True)
class RunConfig:
    """Settings that decide a run's results. Lengths in tokens; `temperature` in nats of logit noise
    scale."""

    model: str
    policy: str = "llada"
    steps: int = 128
    gen_length: int = 128
    block_length: int = 128
    temperature: float = 0.0
    cfg_scale: float = 0.0
    remasking: str = "low_confidence"
    logits_eos_inf: bool = False
    confidence_eos_eot_inf: bool = False
    seed: int = 0
    numerics: str = "default"
    dtype: str = "float32"
    logits_dtype: str = "model"
    prompt_style: str = "chat"
    record: str = "all"
    save_logits: str = "topk"
    topk: int = 16
    mean_hidden: bool = True

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if self.numerics == "reference" and self.logits_dtype != "model":
            raise ConfigError(
                f"logits_dtype is {self.logits_dtype!r}, but numerics 'reference' is the "
                "published code, with the "
                "model's own logits; use logits_dtype model or numerics default"
            )
        for name in ("steps", "gen_length", "block_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.topk < 1:
            raise ConfigError(
                f"topk is {self.topk}; it must be at least 1 (--save-logits none keeps no logits)"
            )
        for name in ("temperature", "cfg_scale"):
            if not getattr(self, name) >= 0 or getattr(self, name) == float("inf"):
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be finite and not negative"
                )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be between 0 and 2^63 - 1")
        if self.gen_length % self.block_length:
            near = [d for d in range(1, self.gen_length + 1) if self.gen_length % d == 0]
            close = sorted(near, key=lambda d: abs(d - self.block_length))[:2]
            raise ConfigError(
                f"block_length {self.block_length} does not divide gen_length {self.gen_length}; "
                f"use {' or '.join(map(str, sorted(close)))}"
            )
        if self.steps % self.n_blocks:
            lower = self.steps - self.steps % self.n_blocks
            raise ConfigError(
                f"steps {self.steps} is not a multiple of the {self.n_blocks} blocks "
                f"(gen_length {self.gen_length} / block_length {self.block_length}); use "
                f"{' or '.join(str(s) for s in (lower, lower + self.n_blocks) if s)}"
            )

    @property
    def n_blocks(self) -> int:
        return self.gen_length // self.block_length

    @property
    def steps_per_block(self) -> int:
        return self.steps // self.n_blocks

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as run.json has them."""
        return dataclasses.asdict(self)


def fingerprint(config: Mapping[str, Any], *, model: str, problems: str) -> str:
    """sha256 over everything that decides the results: settings, model fingerprint and the
    problems' hash.

    Where the model lies does not count, only what it is. A run that an older version made keeps its
    fingerprint.
    """
    settings = {
        k: v
        for k, v in config.items()
        if k != "model" and (k not in ADDED_LATER or v != ADDED_LATER[k])
    }
    text = json.dumps({"config": settings, "model": model, "problems": problems}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def resolve(
    given: Mapping[str, Any], *, checkpoint: Mapping[str, Any], model: str, dtype: str
) -> RunConfig:
    """A RunConfig from the options somebody gave, then the checkpoint's own sampler defaults, then
    the seed's.

    None in `given` means not given. `block_length` defaults to one block.
    """
    fields = {f.name for f in dataclasses.fields(RunConfig)} - {"model", "dtype"}
    own = {
        k: v
        for k, v in checkpoint.items()
        if k in ("steps", "gen_length", "block_length", "temperature")
    }
    # A length given by hand unties the checkpoint's other lengths only where they cannot hold.
    merged = {**SEED_SAMPLER, **own, **{k: v for k, v in given.items() if v is not None}}
    unknown = set(merged) - fields
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(sorted(unknown))}; there are: {', '.join(sorted(fields))}"
        )
    if given.get("gen_length") is not None:
        if given.get("steps") is None:
            merged["steps"] = merged["gen_length"]
        if given.get("block_length") is None and merged["gen_length"] % merged.get(
            "block_length", 1
        ):
            merged.pop("block_length", None)
    merged.setdefault("block_length", merged["gen_length"])
    return RunConfig(model=model, dtype=dtype, **merged)
