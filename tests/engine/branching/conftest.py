"""A small parent run for tests of branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.models.loading import MaskedDiffusionModel
from diffengine.engine.problems.read import Problem, ProblemSet
from diffengine.engine.runs.run import run
from diffengine.engine.store import Run, open_run

QUESTIONS = {
    "a": "Ann has 5 rocks. Ann finds 3 rocks. How many rocks does Ann have now?",
    "b": "2 + 2?",
    "c": "A book costs 7 dollars. Ben buys 4 of them. How many dollars does Ben pay?",
}
PROBLEMS = ProblemSet(
    [Problem(name, question, "8") for name, question in QUESTIONS.items()], [], "0", "three"
)
COMMON: dict[str, Any] = {"gen_length": 12, "steps": 12, "topk": 4}


@pytest.fixture
def parent_of(random_model: MaskedDiffusionModel, tmp_path: Path) -> Callable[..., Run]:
    """Decodes three problems with a policy and opens the run."""

    def made(policy: str = "llada", **more: Any) -> Run:
        run(PROBLEMS, out=tmp_path / "run", model=random_model, policy=policy, **COMMON | more)
        return open_run(tmp_path / "run")

    return made
