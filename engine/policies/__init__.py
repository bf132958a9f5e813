"""Samplers: which positions commit at which step, and to which token. One file per family, one row
here."""

from __future__ import annotations

from ..registry import Registry

POLICIES = Registry(
    "policy",
    {
        "llada": "diffengine.engine.policies.llada:LLaDAPolicy",
    },
    group="diffengine.policies",
)
