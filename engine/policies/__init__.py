"""Policies: which positions commit at which step, and to which token. One file each, one row here.

`engine/decoding/policy.py` says what a policy is. Strangers need no row: an entry point of the
group, or `module:Class` given outright.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

from ..decoding.policy import Policy, PolicyOptions
from ..options import ConfigError
from ..registry import OURS, PluginError, Registry
from ..store.counts import count_text

if TYPE_CHECKING:
    from ..models.family import TokenIds

DEFAULT = "llada"

POLICIES = Registry(
    "policy",
    {
        "llada": "diffengine.engine.policies.llada:LLaDAPolicy",
        "dream": "diffengine.engine.policies.dream:DreamPolicy",
        "rnd1": "diffengine.engine.policies.rnd1:RND1Policy",
        "threshold": "diffengine.engine.policies.threshold:ThresholdPolicy",
        "factor": "diffengine.engine.policies.factor:FactorPolicy",
        "entropy_bound": "diffengine.engine.policies.entropy_bound:EntropyBoundPolicy",
        "entropy_threshold": "diffengine.engine.policies.entropy_threshold:EntropyThresholdPolicy",
        "klass": "diffengine.engine.policies.klass:KlassPolicy",
        "margin": "diffengine.engine.policies.margin:MarginPolicy",
        "prophet": "diffengine.engine.policies.prophet:ProphetPolicy",
        "sdar": "diffengine.engine.policies.sdar:SDARPolicy",
        "bd3lm": "diffengine.engine.policies.bd3lm:BD3LMPolicy",
        "fast_dllm_v2": "diffengine.engine.policies.fast_dllm_v2:FastDLLMv2Policy",
        "nemotron": "diffengine.engine.policies.nemotron:NemotronPolicy",
        "llada2": "diffengine.engine.policies.llada2:LLaDA2Policy",
    },
    group="diffengine.policies",
)

OPTIONS = Registry(
    "table of options",
    {
        "llada": "diffengine.engine.policies.llada_options:LLaDAOptions",
        "dream": "diffengine.engine.policies.dream_options:DreamOptions",
        "rnd1": "diffengine.engine.policies.rnd1_options:RND1Options",
        "threshold": "diffengine.engine.policies.parallel_options:ThresholdOptions",
        "factor": "diffengine.engine.policies.parallel_options:FactorOptions",
        "entropy_bound": "diffengine.engine.policies.parallel_options:EntropyBoundOptions",
        "entropy_threshold": "diffengine.engine.policies.parallel_options:EntropyThresholdOptions",
        "klass": "diffengine.engine.policies.parallel_options:KlassOptions",
        "margin": "diffengine.engine.policies.parallel_options:MarginOptions",
        "prophet": "diffengine.engine.policies.parallel_options:ProphetOptions",
        "sdar": "diffengine.engine.policies.sdar_options:SDAROptions",
        "bd3lm": "diffengine.engine.policies.bd3lm_options:BD3LMOptions",
        "fast_dllm_v2": "diffengine.engine.policies.fast_dllm_v2_options:FastDLLMv2Options",
        "nemotron": "diffengine.engine.policies.nemotron_options:NemotronOptions",
        "llada2": "diffengine.engine.policies.llada2_options:LLaDA2Options",
    },
)
"""Options of policies that `run --help` shows: each is its policy's own `Options`, in a file that
imports no torch. A policy without a row here takes its options by `--option`."""

CONTRACT = "Policy in diffengine.engine.decoding.policy"
METHODS = ("block_of", "performed_for", "step")
PARTS = ("sampling", "performed", "free_schedule")


def options_class(name: str) -> type[PolicyOptions]:
    """The options that policy `name` has; imports the policy only if they are not known without
    it. Raises UnknownNameError, PluginError."""
    if name in OPTIONS:
        kind: type[PolicyOptions] = OPTIONS.load(name)
        return kind
    return policy_class(name).Options


def policies_for(*, blocks: bool) -> list[str]:
    """The names of our policies for models that attend block by block, or for those that attend
    fully."""
    return sorted(name for name in OPTIONS if options_class(name).of_blocks == blocks)


def policy_class(name: str) -> type[Policy]:
    """The policy of this name or `module:Class`. Raises UnknownNameError, and PluginError where
    that is no policy, saying what it lacks."""
    kind: Any = POLICIES.load(name)
    if not inspect.isclass(kind):
        raise PluginError(
            f"policy {name!r} is of type {type(kind).__name__}; expected a class, see {CONTRACT}"
        )
    lacking = [part for part in METHODS if not callable(getattr(kind, part, None))]
    options: Any = getattr(kind, "Options", None)
    if not (inspect.isclass(options) and issubclass(options, PolicyOptions)):
        lacking.insert(0, "Options, a dataclass that inherits from PolicyOptions,")
    if lacking:
        raise PluginError(
            f"policy {name!r}: the class {kind.__qualname__} lacks {' and '.join(lacking)}; see "
            f"{CONTRACT}"
        )
    return cast("type[Policy]", kind)


def make_policy(
    name: str, options: PolicyOptions, token_ids: TokenIds, *, n_candidates: int
) -> Policy:
    """The policy `name` with these options. Raises ConfigError where it refuses them, and
    PluginError where what it makes is no policy."""
    kind = policy_class(name)
    try:
        policy = kind(options, token_ids, n_candidates=n_candidates)
        lacking = [part for part in PARTS if not hasattr(policy, part)]
        blocks = [policy.block_of(step) for step in range(options.steps)]
    except (ConfigError, PluginError):
        raise
    except Exception as error:  # a stranger's class may raise anything
        if is_ours(kind):
            raise
        raise PluginError(
            f"policy {name!r} cannot be made: {type(error).__name__}: {error}; it is called as "
            f"{kind.__qualname__}(options, token_ids, n_candidates=N)"
        ) from error
    if lacking:
        raise PluginError(f"policy {name!r} lacks {' and '.join(lacking)}; see {CONTRACT}")
    if not all(isinstance(block, int) and block >= -1 for block in blocks):
        raise PluginError(
            f"policy {name!r}: block_of gives {blocks[:5]}; expected whole numbers from 0, or -1"
        )
    if len(policy.performed) != options.steps or not any(policy.performed):
        raise PluginError(
            f"policy {name!r}: performed has {count_text(len(policy.performed), 'step')}, "
            f"{sum(policy.performed)} of them true; expected one for each of the {options.steps} "
            f"steps, and at least one of them true"
        )
    return policy


def is_ours(kind: type) -> bool:
    """Whether a class came with this package, so that what it raises is our bug."""
    return kind.__module__.partition(".")[0] == OURS
