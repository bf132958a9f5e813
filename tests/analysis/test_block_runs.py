"""Runs that are decoded block by block: every metric against a literal reading of its definition,
step by step and position by position, on hand-made problems that the store wrote."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.information.beyond_first_step import beyond_first_step
from diffengine.analysis.information.features import belief, state, summary
from diffengine.analysis.metrics.block import Block, read_block
from diffengine.analysis.metrics.confidence import slot_logprob
from diffengine.analysis.metrics.slot import slot_held_back
from diffengine.analysis.metrics.trajectories import Trajectories, read_trajectories
from diffengine.analysis.original.logits_pt import LOGITS, RESULTS, export_original
from diffengine.engine.store import open_run

_spec = importlib.util.spec_from_file_location(
    "block_columns", Path(__file__).parents[1] / "block_columns.py"
)
assert _spec is not None and _spec.loader is not None
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)

NAN = math.nan
STEPS, POSITIONS = made.STEPS, made.POSITIONS
TWO_BLOCKS, STOPPED, REVISED, BORDER = range(4)
COLUMNS = made.stacked(made.SCRIPTS)
FINAL_STEP = [[1, 0, 3, 3, 2, 4], [0, 1], [2, 1, 1, 1, 3, 4], [0, 1, 0, 2, 2, 2]]
"""The step that put the final token at each position, read off the scripts."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_run(made.write_run(tmp_path_factory.mktemp("blocks") / "made", made.SCRIPTS))


@pytest.fixture(scope="module")
def found(run: Any) -> Trajectories:
    return read_trajectories(run)


@pytest.fixture(scope="module")
def block() -> Block:
    return read_block(COLUMNS)


class Twin:
    """One problem and step, told from its script alone."""

    def __init__(self, row: int, step: int) -> None:
        self.row, self.step = row, step
        self.script = made.SCRIPTS[row]
        self.last = len(self.script.steps) - 1
        self.runs = step <= self.last
        self.span = range(0)
        if self.runs:
            now = self.script.steps[step]
            self.span = range(now.start, now.end)

    def written_before(self, position: int) -> bool:
        return any(position in each.commits for each in self.script.steps[: self.step])

    def masked(self) -> list[int]:
        return [at for at in self.span if not self.written_before(at)]

    def held(self) -> list[int]:
        return [at for at in self.span if self.written_before(at)]

    def changed_by_the_step_before(self) -> list[int]:
        before = self.script.steps[self.step - 1] if self.step else made.Step(0, 0, {})
        return [at for at in self.held() if at in before.commits or at in before.revises]

    def opened_at(self, position: int) -> float:
        for step, each in enumerate(self.script.steps):
            if each.start <= position < each.end:
                return step
        return math.inf

    def frozen(self, name: str, position: int) -> Any:
        """The value that counts at this step: that of the final token's step once it is there."""
        if self.step < self.opened_at(position):
            return np.nan
        source = min(self.step, self.last, FINAL_STEP[self.row][position])
        return COLUMNS[name][self.row, source, position].astype(float)

    def mean(self, name: str, positions: list[int]) -> float:
        values = [float(COLUMNS[name][self.row, self.step, at]) for at in positions]
        return sum(values) / len(values) if values else NAN


def is_shown(twin: Twin, positions: list[int]) -> bool:
    """Whether all of these that are ever opened are open by now, and one is."""
    ever = [at for at in positions if twin.opened_at(at) < math.inf]
    return bool(ever) and all(twin.opened_at(at) <= twin.step for at in ever)


def answer(twin: Twin) -> list[int]:
    return list(range(*twin.script.answer))


def slot(twin: Twin) -> list[int]:
    start = twin.script.answer[0]
    return list(range(start, start + len(twin.script.gold)))


def fits(twin: Twin) -> bool:
    return all(twin.opened_at(at) < math.inf for at in slot(twin))


def of_answer(name: str, reduce: Callable[[list[float]], float]) -> Callable[[Twin], float]:
    def value(twin: Twin) -> float:
        values = [float(twin.frozen(name, at)) for at in answer(twin)]
        return NAN if any(map(math.isnan, values)) else reduce(values)

    return value


def answer_slot(twin: Twin) -> float:
    behind = slot(twin)[-1] + 1
    if not fits(twin) or not is_shown(twin, [*slot(twin), behind]):
        return NAN
    joint = sum(twin.frozen("answer_logprob", at)[j] for j, at in enumerate(slot(twin)))
    return math.exp(joint)  # there are no token texts, and no answer goes on: nothing is longer


def guess(twin: Twin, position: int) -> int:
    row, step = twin.row, min(twin.step, twin.last)
    if twin.written_before(position) or position in twin.script.steps[step].commits:
        return int(COLUMNS["token"][row, step, position])
    return int(COLUMNS["prediction"][row, step, position])


def hit(twin: Twin) -> float:
    if not fits(twin):
        return 0.0
    if not is_shown(twin, [*slot(twin), slot(twin)[-1] + 1]):
        return NAN
    return float([guess(twin, at) for at in slot(twin)] == list(twin.script.gold))


def final_guess(twin: Twin) -> float:
    if not is_shown(twin, answer(twin)):
        return NAN
    final = COLUMNS["token"][twin.row, -1]
    return float(all(guess(twin, at) == final[at] for at in answer(twin)))


def largest_kl(twin: Twin) -> float:
    if not is_shown(twin, answer(twin)):
        return NAN
    inside = [at for at in twin.masked() if at in answer(twin)]
    values = [float(COLUMNS["kl"][twin.row, twin.step, at]) for at in inside]
    return NAN if any(map(math.isnan, values)) else max(values, default=0.0)


def softmax_sum(twin: Twin) -> float:
    n_gold = len(twin.script.gold)
    values = COLUMNS["answer_logprob"][twin.row, twin.step, list(twin.span), :n_gold]
    return float(np.exp(values).sum()) if len(twin.span) else NAN


def mean_prob(twin: Twin) -> float:
    cells = len(twin.span) * len(twin.script.gold)
    return softmax_sum(twin) / cells if cells else NAN


def pvi(twin: Twin) -> float:
    if not fits(twin) or any(at > 1 for at in slot(twin)) or twin.step < twin.opened_at(0):
        return NAN  # the null belief is of positions 0 and 1 alone
    null = COLUMNS["null_answer_logprob"][twin.row]
    gained = [twin.frozen("answer_logprob", at)[j] - null[at, j] for j, at in enumerate(slot(twin))]
    return sum(gained) / math.log(2)


OF_PASSES: dict[str, Callable[[Twin], float]] = {
    "entropy/all": lambda twin: twin.mean("entropy", list(twin.span)),
    "entropy/masked": lambda twin: twin.mean("entropy", twin.masked()),
    "entropy/committed": lambda twin: twin.mean("entropy", twin.held()),
    "kl/all": lambda twin: twin.mean("kl", list(twin.span)),
    "kl/masked": lambda twin: twin.mean("kl", twin.masked()),
    "kl/committed": lambda twin: twin.mean(
        "kl", [at for at in twin.held() if at not in twin.changed_by_the_step_before()]
    ),
    "kl/just_committed": lambda twin: twin.mean("kl", twin.changed_by_the_step_before()),
    "confidence/softmax_sum": softmax_sum,
    "confidence/mean_prob": mean_prob,
    "answer/largest_kl": largest_kl,
}
KEPT: dict[str, Callable[[Twin], float]] = {
    "confidence/answer_slot": answer_slot,
    "conditional_entropy/answer_slot": of_answer("entropy", lambda v: sum(v) / len(v)),
    "answer/confidence": of_answer("logprob", lambda v: math.exp(sum(v))),
    "answer/lowest_confidence": of_answer("logprob", lambda v: math.exp(min(v))),
    "answer/margin": of_answer("margin", lambda v: sum(v) / len(v)),
    "emergence/hit": hit,
    "emergence/final_guess": final_guess,
    "pvi/gold_answer": pvi,
}


@pytest.mark.parametrize("name", sorted(OF_PASSES))
def test_what_is_about_a_pass(found: Trajectories, name: str) -> None:
    expected = np.full((len(made.SCRIPTS), STEPS), np.nan)
    for row in range(len(made.SCRIPTS)):
        for step in range(len(made.SCRIPTS[row].steps)):
            expected[row, step] = OF_PASSES[name](Twin(row, step))
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(found.metrics[name], expected, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_is_about_an_answer_that_stands(found: Trajectories, name: str) -> None:
    reached = max(len(script.steps) for script in made.SCRIPTS)
    expected = np.full((len(made.SCRIPTS), STEPS), np.nan)
    for row in range(len(made.SCRIPTS)):
        for step in range(reached):
            last = len(made.SCRIPTS[row].steps) - 1
            expected[row, step] = KEPT[name](Twin(row, min(step, last)))
    assert np.isfinite(expected).any() and np.isnan(expected[:, :reached]).any()
    np.testing.assert_allclose(found.metrics[name], expected, rtol=1e-5)


def test_events_have_not_happened_before_the_slot_is_open(found: Trajectories) -> None:
    """A distribution function over all problems neither falls nor loses problems."""
    for name in ("emergence/first_hit", "emergence/stable_hit", "emergence/settled"):
        values = found.metrics[name][:, :5]
        assert np.isfinite(values).all()
        assert (np.diff(values, axis=1) >= 0).all()
    assert found.metrics["emergence/first_hit"][BORDER, :5].tolist() == [0, 0, 1, 1, 1]
    hits = found.metrics["emergence/hit"]
    assert np.isnan(hits[TWO_BLOCKS, :2]).all() and np.isnan(hits[BORDER, :2]).all()
    assert found.columns["first_hit_step"][BORDER] == 2
    assert found.columns["settled_step"][REVISED] == 2  # the first token is revised there


def test_steps_and_counts_by_hand(found: Trajectories) -> None:
    columns = found.columns
    assert columns["end_step"].tolist() == [4, 1, 4, 2]
    assert columns["masks_left"].tolist() == [0, 0, 0, 0]
    assert columns["tokens"].tolist() == [6, 2, 6, 6]
    assert columns["answer_commit_step"].tolist() == [3, 0, 2, 0]
    assert found.mismatched_masks == 0
    assert columns["slot_status"].tolist() == [0, 0, 0, 0]
    assert columns["guess_changes"][REVISED] == 2  # positions 1 and 0, at steps 1 and 2
    # Within blocks: (1, 0) and (3, 3, 2, 4) against the positions.
    expected = (-1 + np.corrcoef([2.5, 2.5, 1, 4], range(4))[0, 1]) / 2
    assert columns["commit_order_in_block"][TWO_BLOCKS] == pytest.approx(expected)
    within = np.corrcoef([1.5, 3, 1.5], range(3))[0, 1]  # the second block commits at once
    assert columns["commit_order_in_block"][BORDER] == pytest.approx(within)


def test_commit_steps_are_those_of_the_final_token(block: Block) -> None:
    for row, expected in enumerate(FINAL_STEP):
        got = block.commit_step[row].tolist()
        assert got == [*expected, *[STEPS] * (POSITIONS - len(expected))]
    assert block.first_commit[REVISED].tolist() == [0, 0, 1, 1, 3, 4]
    assert block.never_committed[STOPPED].tolist() == [False] * 2 + [True] * 4
    assert not block.left_masked.any()


def test_a_slot_behind_all_that_was_opened_does_not_fit() -> None:
    far = made.STOPPED._replace(gold=[made.EOS, 21], answer=(1, 2))
    block = read_block(made.stacked([far]))
    assert block.slot_status.tolist() == [3]
    assert not slot_held_back(block).any()


def test_masks_left_in_a_block_that_is_closed_keep_their_last_pass() -> None:
    steps = [made.Step(0, 2, {0: 10}), *made.TWO_BLOCKS.steps[2:]]
    left = made.TWO_BLOCKS._replace(steps=steps, answer=(1, 2), gold=[3])
    columns = made.stacked([left])
    block = read_block(columns)
    assert block.left_masked[0].tolist() == [False, True] + [False] * 4
    assert block.masked[0, :, 1].tolist() == [True] + [False] * (STEPS - 1)
    assert (block.guess[0, :, 1] == columns["prediction"][0, 0, 1]).all()
    assert block.freeze_step[0, 1] == 0
    expected = columns["answer_logprob"][0, 0, 1, 0]
    np.testing.assert_array_equal(slot_logprob(block)[0, :, 0], np.full(STEPS, expected))


def test_features_of_mutual_information(block: Block) -> None:
    of_answer_now = belief(block)[TWO_BLOCKS]
    assert np.isnan(of_answer_now[:2]).all() and np.isfinite(of_answer_now[2:]).all()
    at_end = [COLUMNS["logprob"][0, 3, 3], COLUMNS["logprob"][0, 2, 4]]
    assert of_answer_now[-1, 0] == pytest.approx(sum(map(float, at_end)))

    of_final = COLUMNS["logprob"][REVISED, [2, 1], [0, 1]].astype(float).sum()
    assert belief(block)[REVISED, -1, 0] == pytest.approx(of_final)

    std = COLUMNS["logit_std"][0, 2, 2:].astype(float)
    mean = COLUMNS["logit_mean"][0, 2, 2:].astype(float)
    largest = COLUMNS["logprob"][0, 2, 2:] + COLUMNS["logsumexp"][0, 2, 2:]
    entropy = COLUMNS["entropy"][0, 2, 2:].astype(float).mean()
    spread = math.sqrt((std**2).mean() + mean.var())
    expected = [mean.mean(), spread, float(largest.max()), entropy]
    np.testing.assert_allclose(summary(block)[TWO_BLOCKS, 2], expected, rtol=1e-5)
    assert np.isnan(summary(block)[STOPPED, 2:]).all()

    states = state(block, np.arange(STEPS))[TWO_BLOCKS]
    assert np.isnan(states[:2]).all()
    np.testing.assert_array_equal(states[2:4], COLUMNS["state_answer"][0, 2:4])
    np.testing.assert_array_equal(states[4:], COLUMNS["state_answer"][0, [3] * 3])


def test_a_mean_is_over_what_a_pass_read() -> None:
    """A shifted model reads a block's first position in its first pass alone."""
    columns = made.stacked([made.TWO_BLOCKS])
    entropy = columns["entropy"]
    entropy[0, [3, 4], 2] = np.nan
    block = read_block(columns)
    expected = entropy[0, 3, 3:].astype(float).mean()
    assert block.mean_read(entropy)[0, 3] == pytest.approx(expected)


def test_an_analysis_says_what_it_cannot_say(run: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analysis = analyze_run(run, mutual_information=True, tsne=True)
    assert analysis.info["of_blocks"]
    undefined = [
        "cka/to_final",
        "early_exit/confidence_canvas/accuracy",
        "early_exit/confidence_canvas/steps",
        "cka_states/answer_matrix",
    ]
    for name in undefined:
        assert analysis[name].status.startswith("undefined: "), name
    assert analysis.s_curve.reason.startswith("undefined: each problem opens its blocks")
    assert "of the block that is open at the step" in analysis["entropy/all"].label
    assert "open by then" in analysis["confidence/answer_slot"].label
    assert "open" not in analysis["emergence/first_hit"].label
    assert np.asarray(analysis["confidence/answer_slot"].n)[:5].tolist() == [2, 2, 4, 4, 4]
    assert float(analysis["ends/tokens_per_step"].values) == pytest.approx(
        np.mean([6 / 5, 2 / 2, 6 / 5, 6 / 3])
    )


def test_there_is_no_common_first_step_to_go_beyond(tmp_path: Path) -> None:
    run = open_run(made.write_run(tmp_path / "run", made.SCRIPTS * 30))
    found = beyond_first_step(run)
    for quantity in found.quantities.values():
        assert quantity.status.startswith("undefined: decoding goes block by block")


def test_the_original_suites_files_have_no_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    shape = (len(made.SCRIPTS), STEPS, POSITIONS, made.VOCABULARY)
    is_open = ~np.isnan(COLUMNS["logprob"])[..., None]
    logits = np.where(is_open, rng.normal(size=shape), np.nan).astype(np.float32)
    run = open_run(made.write_run(tmp_path / "run", made.SCRIPTS, logits=logits))
    paths = export_original(run, tmp_path / "out")
    assert [path.name for path in paths] == [LOGITS, RESULTS]
    assert "each problem has other positions open" in caplog.text
    assert "ends after step" not in caplog.text
    kept = torch.load(paths[0], weights_only=True)
    assert [len(steps) for steps in kept] == [5, 2, 5, 3]
    np.testing.assert_array_equal(kept[BORDER][2][0].numpy(), logits[BORDER, 2])
