"""Which exceptions are messages for the user, and the exit code each one means. Everything else is
our bug."""

from __future__ import annotations

USER_ERRORS = {
    "diffengine.engine.config": 2,
    "diffengine.engine.registry": 2,
    "diffengine.engine.runs.cluster.ray_session": 1,
    "diffengine.engine.problems.read": 1,
    "diffengine.engine.models.family": 1,
    "diffengine.engine.store.errors": 1,
    "diffengine.analysis.errors": 2,
}
"""Modules whose exceptions a user can act on, with the exit code: 2 for what was typed, 1 for what
was found."""


def expected_failure(error: BaseException) -> int | None:
    """The exit code for an error that a user can act on; None for a bug, whose traceback should be
    seen."""
    for kind in type(error).__mro__:
        if kind.__module__ in USER_ERRORS:
            return USER_ERRORS[kind.__module__]
    return 1 if isinstance(error, OSError) else None
