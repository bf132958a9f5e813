"""What a run is: every choice that changes its results, checked once, with a fingerprint.

`RunConfig` is frozen and complete: defaults are resolved when it is built, never later. What
belongs to the policy is in the policy's own options.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .decoding.policy import PolicyOptions
from .options import (
    AT_LEAST_ONE,
    ConfigError,
    Rule,
    check_options,
    no_option,
    option,
    options_of,
    refuse_unknown,
)
from .policies import DEFAULT, options_class
from .prompts.template import check_template

__all__ = ["ConfigError", "RunConfig", "check_settings", "fingerprint", "resolve"]

ADDED_LATER = {"logits_dtype": "model", "prompt_template": ""}
"""Settings that older runs do not name, with what those runs did; at that value they change no
fingerprint."""

TOPK = Rule(AT_LEAST_ONE.holds, "it must be at least 1 (--save-logits none keeps no logits)")


@dataclass(frozen=True)
class RunConfig:
    """Settings that decide a run's results: those of the run here, those of the policy in
    `sampler`. `RunConfig.of` makes one from flat settings."""

    model: str = no_option()
    sampler: PolicyOptions = no_option()
    policy: str = option(
        DEFAULT,
        "Sampler; see `diffengine list`.",
        default_text="what the model's family is published with",
    )
    dtype: str = option(
        "float32",
        "",
        choices=("float32", "bfloat16"),
        default_text="bfloat16 on a GPU, float32 on a CPU",
    )
    logits_dtype: str = option(
        "model",
        "Logits of which the statistics are taken; `float32` for exact KL of a bfloat16 model.",
        choices=("model", "float32", "bfloat16"),
        default_text="model",
    )
    prompt_style: str = option(
        "chat",
        "Chat template, or question + ' Answer:'.",
        choices=("chat", "raw"),
        default_text="chat",
    )
    prompt_template: str = option(
        "",
        "Words around the question: a text with {question} in it, or a JSON list of turns whose "
        "last has it; @FILE reads one.",
    )
    record: str = option(
        "all",
        "Positions whose statistics are kept; `answers` keeps no trajectory, only how it ends.",
        choices=("all", "masked", "answers"),
        default_text="all",
    )
    save_logits: str = option(
        "topk",
        "`hidden` is lossless and 31 times smaller than `full` for LLaDA-8B.",
        choices=("none", "topk", "hidden", "full"),
        default_text="topk",
    )
    topk: int = option(
        16,
        "Logits kept per position with --save-logits topk.",
        rule=TOPK,
        default_text="16",
    )
    mean_hidden: bool = option(True, "Keep the mean hidden trajectory.", default_text="keep")

    def __post_init__(self) -> None:
        check_options(RunConfig, vars(self))
        check_template(self.prompt_template, style=self.prompt_style)
        if self.of_blocks and self.mean_hidden:
            raise ConfigError(
                "mean_hidden is on, but this model is decoded block by block: at one step every "
                "problem has other positions open, so there is no mean; leave it out"
            )
        if self.sampler.published_numerics and self.logits_dtype != "model":
            raise ConfigError(
                f"logits_dtype is {self.logits_dtype!r}, but numerics 'reference' is the "
                "published code, with the model's own logits; use logits_dtype model or numerics "
                "default"
            )

    @classmethod
    def of(cls, *, model: str, dtype: str = "float32", **settings: Any) -> RunConfig:
        """A RunConfig from settings of the run and of its policy alike; raises ConfigError."""
        return resolve(settings, checkpoint={}, model=model, dtype=dtype)

    def changed(self, **settings: Any) -> RunConfig:
        """The same but for these settings, of the run or of its policy."""
        return RunConfig.of(**(self.as_dict() | settings))

    @property
    def steps(self) -> int:
        return self.sampler.steps

    @property
    def gen_length(self) -> int:
        return self.sampler.gen_length

    @property
    def of_blocks(self) -> bool:
        """Whether rows are decoded block by block, by a model that attends so."""
        return self.sampler.of_blocks

    @property
    def revises(self) -> bool:
        """Whether a token may change after its commit."""
        return self.sampler.revises

    @property
    def positions_at_once(self) -> int:
        """Generated positions of a row that a pass is read at."""
        return self.sampler.positions_at_once

    @property
    def guided(self) -> bool:
        """Whether each row goes through the network twice."""
        return self.sampler.guidance > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as run.json has them: the policy's options are not apart."""
        values = dict(vars(self))
        sampler = values.pop("sampler")
        first = {"model": values.pop("model"), "policy": values.pop("policy")}
        return {**first, **dataclasses.asdict(sampler), **values}


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
    """A RunConfig from the settings somebody gave, then the checkpoint's own sampler defaults, then
    the defaults of the options.

    None in `given` means not given. Raises ConfigError, UnknownNameError (no such policy),
    PluginError.
    """
    kind = check_settings(given)
    settings = {name: value for name, value in given.items() if value is not None}
    of_policy = set(options_of(kind))
    sampler = kind.resolved({k: v for k, v in settings.items() if k in of_policy}, checkpoint)
    of_run = {k: v for k, v in settings.items() if k not in of_policy}
    if sampler.of_blocks:
        of_run.setdefault("mean_hidden", False)
    return RunConfig(model=model, sampler=sampler, dtype=dtype, **of_run)


def check_settings(given: Mapping[str, Any]) -> type[PolicyOptions]:
    """Refuse what no checkpoint can mend: a policy that is none, a name that it has not, a value
    that cannot be; returns the policy's options.

    Raises ConfigError, UnknownNameError, PluginError.
    """
    settings = {name: value for name, value in given.items() if value is not None}
    policy = str(settings.get("policy", DEFAULT))
    kind = options_class(policy)
    of_policy = options_of(kind)
    of_run = {name for name in options_of(RunConfig) if name != "dtype"}
    shared = sorted(of_policy.keys() & {field.name for field in dataclasses.fields(RunConfig)})
    if shared:
        raise ConfigError(
            f"policy {policy}: its options {', '.join(shared)} are the run's own names; "
            "the policy must call them otherwise"
        )
    refuse_unknown(settings, of_run | of_policy.keys(), policy=policy)
    check_options(RunConfig, settings)
    check_options(kind, settings)
    return kind
