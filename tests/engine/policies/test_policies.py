"""What holds for every policy, and what is said of a thing that is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diffengine.engine.config import RunConfig
from diffengine.engine.decoding.policy import Policy, PolicyOptions
from diffengine.engine.models.family import TokenIds
from diffengine.engine.options import options_of
from diffengine.engine.policies import OPTIONS, POLICIES, make_policy, options_class, policy_class
from diffengine.engine.registry import PluginError, UnknownNameError

TOKENS = TokenIds(5, 1, 4)


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_keeps_the_contract(name: str) -> None:
    kind = policy_class(name)
    options = kind.Options()
    policy = make_policy(name, options, TOKENS, n_candidates=100)
    assert len(policy.performed) == options.steps
    blocks = [policy.block_of(step) for step in range(options.steps)]
    assert all(isinstance(block, int) and block >= -1 for block in blocks)
    assert options_of(kind.Options).keys() == vars(options).keys()


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_options_that_help_shows_are_the_policys_own(name: str) -> None:
    assert options_class(name) is policy_class(name).Options


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_page_of_policies_has_it(name: str) -> None:
    page = Path(__file__).parents[3] / "docs" / "policies.md"
    assert f"\n| `{name}` | " in page.read_text(encoding="utf-8")


def test_options_are_known_without_torch() -> None:
    program = (
        "import sys; import diffengine.engine.cli.run; "
        "assert 'torch' not in sys.modules and 'diffengine.engine.policies.llada' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=60)


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'llada'"):
        policy_class("lada")


class NoOptions:
    def block_of(self, step: int) -> int:
        return 0


class Short(Policy):
    """A schedule of one step too few."""

    Options = PolicyOptions

    def __init__(self, options: PolicyOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.sampling: Any = None
        self.performed = [True] * (options.steps - 1)

    def step(self, canvas: Any, proposal: Any, stats: Any) -> Any:
        raise NotImplementedError


class Unfinished(Short):
    """Forgets what the head shall propose."""

    def __init__(self, options: PolicyOptions, token_ids: TokenIds, *, n_candidates: int) -> None:
        self.performed = [True] * options.steps


class Stubborn(Short):
    """Cannot be made as a policy is."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (7, "is of type int; expected a class"),
        (NoOptions, "NoOptions lacks Options, a dataclass .* and step"),
        (Short, "performed has 3 steps, 3 of them true; expected one for each of the 4 steps"),
        (Unfinished, "lacks sampling"),
        (Stubborn, "cannot be made: .*it is called as Stubborn"),
    ],
)
def test_what_is_no_policy_is_refused_with_what_it_lacks(
    thing: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("somebodys")
    module.thing = thing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys", module)
    with pytest.raises(PluginError, match=message):
        make_policy("somebodys:thing", PolicyOptions(4, 4), TOKENS, n_candidates=100)


def test_a_policy_that_calls_an_option_as_the_run_does_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import dataclasses

    from diffengine.engine.config import ConfigError
    from diffengine.engine.options import option

    @dataclasses.dataclass(frozen=True)
    class Options(PolicyOptions):
        topk: int = option(3, "Its own.")

    class Greedy(Short):
        pass

    Greedy.Options = Options
    module = type(sys)("somebodys")
    module.Greedy = Greedy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys", module)
    with pytest.raises(ConfigError, match="its options topk are the run's own names"):
        RunConfig.of(model="m", policy="somebodys:Greedy")
