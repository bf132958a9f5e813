"""Interventions: what is done to a stored state before it is continued.

`parse_interventions` reads what `--do` gave; `Intervention.apply` makes of a `State` what is
decoded from. The forms are those of `engine/branching/grammar.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..options import ConfigError
from ..store.counts import count_text
from .actions import Action, Forbid, Force, Nothing, PatchStates, Put
from .grammar import read_action, split_actions
from .state import Changed, DoesNotApply, Donor, Draft, State

__all__ = [
    "NOTHING",
    "Changed",
    "DoesNotApply",
    "Donor",
    "Intervention",
    "State",
    "check_interventions",
    "parse_interventions",
]


@dataclass(frozen=True)
class Intervention:
    """Actions that are taken one after the other, in one state."""

    actions: tuple[Action, ...]

    @property
    def text(self) -> str:
        """As `--do` would give it."""
        return "; ".join(action.text for action in self.actions)

    @property
    def is_nothing(self) -> bool:
        """Whether the state stays as it was."""
        return self.actions == (Nothing(),)

    def apply(self, state: State) -> Changed:
        """What becomes of the state, which stays as it is. Raises DoesNotApply with the reason."""
        draft = Draft.of(state)
        for action in self.actions:
            action.do(draft)
        return draft.changed()

    def positions(
        self,
        before: np.ndarray,
        token: np.ndarray,
        *,
        mask_id: int,
        answer: tuple[int, int] | None,
    ) -> np.ndarray:
        """Which positions [G] it acted on, known afterwards: `before` [G] is the parent's canvas at
        the step, `token` [G] the one that the branch began with, `answer` the span of the parent's
        answer. The same as `Changed.positions`."""
        acted = before != token
        masked = token == mask_id
        for action in self.actions:
            if isinstance(action, Force | Forbid):
                acted |= masked & action.place.mask(len(token), ~masked, answer)
            if isinstance(action, PatchStates):
                acted |= action.place.mask(len(token), ~masked, answer)
        return np.asarray(acted)


NOTHING = Intervention((Nothing(),))


def parse_interventions(texts: Sequence[str], *, gen_length: int) -> list[Intervention]:
    """`nothing`, and then what the texts say, in their order; `each` becomes one intervention for
    each of the `gen_length` positions. Raises ConfigError for what is none or comes twice."""
    interventions = [NOTHING]
    for text in texts:
        for intervention in _read(text, gen_length):
            if intervention.is_nothing:
                continue
            if intervention in interventions:
                raise ConfigError(
                    f"--do {text!r}: {intervention.text!r} comes twice; leave out one of them"
                )
            interventions.append(intervention)
    return interventions


def _read(text: str, gen_length: int) -> list[Intervention]:
    """One text, without `each`."""
    try:
        actions = [read_action(part, gen_length=gen_length) for part in split_actions(text)]
    except ConfigError as error:
        said = str(error)
        raise ConfigError(said if said.startswith("--do") else f"--do {text!r}: {said}") from None
    if len(actions) > 1 and Nothing() in actions:
        raise ConfigError(f"--do {text!r}: `nothing` stands alone; leave it out")

    if not any(action.where is not None and action.where.word == "each" for action in actions):
        return [Intervention(tuple(actions))]
    everywhere = []
    for position in range(gen_length):
        everywhere.append(Intervention(tuple(action.at(position) for action in actions)))
    return everywhere


def check_interventions(
    interventions: Sequence[Intervention],
    *,
    encode: Callable[[str], Sequence[int]],
    mask_id: int,
    n_layers: int | None,
    guided: bool = False,
) -> None:
    """Refuse what no problem gives occasion for, once the model is known: its tokenizer, its number
    of layers (None: it has none that can be patched), whether it runs `guided`. Raises ConfigError.
    """
    for intervention in interventions:
        for action in intervention.actions:
            if isinstance(action, Put | Force | Forbid):
                _check_words(action, encode, mask_id)
            if isinstance(action, PatchStates):
                _check_layer(action, n_layers, guided)


def _check_words(
    action: Put | Force | Forbid, encode: Callable[[str], Sequence[int]], mask_id: int
) -> None:
    ids = list(encode(action.words))
    if not ids:
        raise ConfigError(f"--do {action.text!r}: the text has no tokens; give some")
    if mask_id in ids:
        raise ConfigError(
            f"--do {action.text!r}: the text holds the mask token; use `remask` to put masks"
        )
    length = action.place.length
    if isinstance(action, Forbid) or length is None or len(ids) in (1, length):
        return
    expected = "1" if length == 1 else f"1 or {length}"
    raise ConfigError(
        f"--do {action.text!r}: the text is {count_text(len(ids), 'token')}, {ids}; expected "
        f"{expected}, for {action.place.text} is {count_text(length, 'position')}"
    )


def _check_layer(action: PatchStates, n_layers: int | None, guided: bool) -> None:
    if n_layers is None:
        raise ConfigError(
            f"--do {action.text!r}: the layers of this model cannot be patched; only those of a "
            "decoder with a list of layers can"
        )
    if action.layer >= n_layers:
        raise ConfigError(
            f"--do {action.text!r}: the model has no layer {action.layer}; expected 0 to "
            f"{n_layers - 1}"
        )
    if guided:
        raise ConfigError(
            f"--do {action.text!r}: with guidance a row is two, one of them without its prompt; "
            "patch a run without cfg_scale"
        )
