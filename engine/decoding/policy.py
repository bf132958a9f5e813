"""What a policy is: the contract between the denoising loop and whoever decides what to commit.

A policy is schedule x score x commit rule x stop. One file holds it and its options; a row of
`engine/policies/`, an entry point or `--policy module:Class` makes it known. Shapes: B rows, G
generated positions, S steps.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from ..options import AT_LEAST_ONE, check_options, option, options_of

if TYPE_CHECKING:
    from torch import Tensor

    from ...kernels.head import Proposal, Sampling
    from ...kernels.reference import LogitStats
    from ..models.family import TokenIds
    from .canvas import Canvas


EVERY_STEP = sys.maxsize
"""`Policy.looks_back` of a policy that remembers a row from its first step on."""

OF_ANY_SAMPLER = frozenset({"temperature", "top_p", "top_k"})
"""Options that the generation_config.json of an autoregressive model has too."""


@dataclass(frozen=True)
class PolicyOptions:
    """The options that every policy has. A policy's own are a frozen dataclass that inherits from
    this one; make their fields with `diffengine.engine.options.option`."""

    of_blocks: ClassVar[bool] = False
    """Whether the policy is for models that attend block by block; see
    `engine/policies/block_diffusion.py`. Others are for models that attend fully."""

    of_network: ClassVar[frozenset[str]] = frozenset()
    """Options that config.json may say, too, since they are settings of the network's training;
    loading puts them among those of generation_config.json."""

    steps: int = option(
        128,
        "Denoising steps.",
        rule=AT_LEAST_ONE,
        default_text="the checkpoint's own, else 128",
        from_checkpoint=True,
    )
    gen_length: int = option(
        128,
        "Generated tokens.",
        rule=AT_LEAST_ONE,
        default_text="the checkpoint's own, else 128",
        from_checkpoint=True,
    )

    def __post_init__(self) -> None:
        check_options(type(self), vars(self))
        self.check()

    def check(self) -> None:
        """Raise ConfigError where options do not go together; each alone is checked already."""

    @property
    def guidance(self) -> float:
        """Scale of classifier-free guidance; 0: none, each row goes through the network once."""
        return 0.0

    @property
    def positions_at_once(self) -> int:
        """Generated positions of a row that a pass is read at: all, or those of its open block."""
        return self.gen_length

    @property
    def most_steps_in_block(self) -> int:
        """The most steps that one block can use; of policies of block diffusion, for which others
        have one block."""
        return self.steps

    @property
    def revises(self) -> bool:
        """Whether a token may change after its commit."""
        return False

    @property
    def published_numerics(self) -> bool:
        """Whether the dtypes and tie rules of a published code are reproduced, to its faults."""
        return False

    @classmethod
    def resolved(cls, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> Self:
        """The options that were given, then those of the checkpoint's generation_config.json that
        apply, then the defaults. Raises ConfigError."""
        return cls(**cls.values_of(given, checkpoint))

    @classmethod
    def values_of(cls, given: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """What `resolved` makes the options of. A length given by hand brings its number of steps:
        one for each token.

        A generation_config.json with no name but `OF_ANY_SAMPLER` is that of the autoregressive
        model that the checkpoint began as, and not for this sampler; what is `of_network` applies
        whoever said it.
        """
        options = options_of(cls)
        there = {name for name in options if checkpoint.get(name) is not None}
        if not there - OF_ANY_SAMPLER - cls.of_network:
            there &= cls.of_network
        own = {name: checkpoint[name] for name in there if options[name].from_checkpoint}
        values = own | dict(given)
        if "gen_length" in given and "steps" not in given:
            values["steps"] = given["gen_length"]
        return values


class Update(NamedTuple):
    """What a policy decided: the token proposed at each position [B, G] and which of them to commit
    [B, G].

    A commit counts only where the position is masked and the token is not the mask token; see
    `Canvas.allowed`. `counts` says how many positions each row commits, where the host can know
    it; None where it cannot. `stopped` [B] ends rows before their masks are used up; of a free
    schedule alone.

    Of a policy of block diffusion alone: `revised` [B, G] are positions that hold a token and get
    the proposed one instead; `closed` [B] says which rows are done with their open block, None that
    those without a mask in it are.
    """

    token: Tensor
    commit: Tensor
    counts: list[int] | None = None
    stopped: Tensor | None = None
    revised: Tensor | None = None
    closed: Tensor | None = None


class Policy(Protocol):
    """One policy for one run; inherit from it, for what has a default here need not be written.

    `Options` is its own dataclass of options; it is made from one of these, the ids of the model's
    special tokens, and the number of tokens that may be proposed.

    Fixed schedule: the host knows from the options which of the S steps have a forward pass
    (`performed`), or from them and a problem's noise (`performed_for`); every row makes all of
    these, and no step asks the device for anything. `canvas.due` fits the policy's counts to rows
    whose canvas an intervention changed. Free schedule (`free_schedule`): a row leaves
    after the step that leaves no mask in it or that `Update.stopped` names; S is then the most that
    it can take. How many masks are left only the device knows, so the host waits for that number
    once a step, after the step's last kernel: a free schedule pays one synchronisation a step for
    not running forwards that commit nothing.
    """

    Options: ClassVar[type[PolicyOptions]]
    sampling: Sampling
    """How the head proposes a token for each position."""
    performed: Sequence[bool]
    """[S] whether a step has a forward pass. A step that has none is stepped over: its canvas is
    the next one's, and the noise is counted by step, so nothing downstream moves."""
    free_schedule: bool = False
    reads_committed: bool = False
    """Whether `step` needs the statistics of positions that hold a token already, also in a run
    that records masked positions alone."""

    looks_back: int = 1
    """How many steps before this one `step` depends on beyond the canvas: 0 where the canvas
    decides alone, 1 where `stats.kl` is read, `EVERY_STEP` where more is remembered. A branch walks
    so many steps again before it begins."""

    def __init__(self, options: Any, token_ids: TokenIds, *, n_candidates: int) -> None: ...

    def performed_for(self, key: int) -> Sequence[bool]:
        """[S] which steps have a forward pass for the problem whose noise has this key: those of
        `performed`, or fewer, where a policy draws its schedule by `kernels/noise.py`. A problem
        has one at least."""
        return self.performed

    def block_of(self, step: int) -> int:
        """The block, from 0, that a step works on; -1 where it differs from row to row."""
        return 0

    def step(self, canvas: Canvas, proposal: Proposal, stats: LogitStats) -> Update:
        """Choose this step's commits.

        `proposal` [B * G] and `stats` [B * G] are of all generated positions, in the canvas's
        order; in a run that records masked positions alone those of the others are missing, unless
        the policy `reads_committed`.
        """
        ...
