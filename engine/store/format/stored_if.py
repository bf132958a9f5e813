"""What settings of a run decide of what it stores, by name."""

from __future__ import annotations

from .variable import Settings


def keeps_topk(settings: Settings) -> bool:
    """Whether the largest logits are kept."""
    return settings.save_logits != "none"


def keeps_hidden(settings: Settings) -> bool:
    """Whether hidden states are kept."""
    return settings.save_logits == "hidden"


def keeps_logits(settings: Settings) -> bool:
    """Whether all logits are kept."""
    return settings.save_logits == "full"


def keeps_sums(settings: Settings) -> bool:
    """Whether sums of hidden states over problems are kept."""
    return settings.mean_hidden


def is_of_blocks(settings: Settings) -> bool:
    """Whether rows are decoded block by block."""
    return settings.of_blocks


def revises(settings: Settings) -> bool:
    """Whether a token may change after its commit."""
    return settings.revises


def keeps_answers_alone(settings: Settings) -> bool:
    """Whether no trajectory is kept."""
    return settings.record == "answers"
