"""Answer information in picture and summary: what is said where there are branches, few of them, or
none."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.results import Analysis
from diffengine.analysis.show.plots import load_panel, style
from diffengine.analysis.show.plots.answer_information import ABSENT, UNREADABLE, finding
from diffengine.analysis.show.summary_branches import ABSENT as NO_BRANCHES
from diffengine.analysis.show.summary_branches import branch_lines


def loaded(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE = Path(__file__).parent
PLAIN: Analysis = loaded("synthetic_analysis", HERE.parent).analysis()
MADE = loaded("synthetic_branches", HERE)
GRID = (0, 6, 12, 18, 24, 30, 36, 42)


@pytest.fixture(scope="module")
def branched() -> Analysis:
    analysis: Analysis = MADE.with_branches(PLAIN, MADE.draws_of(200, GRID))
    return analysis


def drawn(analysis: Analysis) -> tuple[Any, list[str]]:
    """The panel's axes and all its texts."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with warnings.catch_warnings(), rc_context(style.RC):
        warnings.simplefilter("error")
        figure = Figure(figsize=(7, 5))
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
        load_panel("answer_information").show(ax, analysis)
        figure.draw_without_rendering()
    texts = [text.get_text() for text in (*ax.texts, ax.title)]
    return ax, [" ".join(text.split()) for text in texts]


def line_called(ax: Any, start: str) -> Any:
    return next(line for line in ax.lines if str(line.get_label()).startswith(start))


def test_without_branches_the_panel_says_how_to_get_them() -> None:
    _, texts = drawn(PLAIN)
    assert any("diffengine branch RUN --samples 16" in text for text in texts)
    assert "diffengine branch RUN --samples 16" in ABSENT
    assert branch_lines(PLAIN) == [NO_BRANCHES]
    unreadable = replace(PLAIN, info={**PLAIN.info, "branching": {}})
    assert any(UNREADABLE in text for text in drawn(unreadable)[1])
    assert "see the warnings" in branch_lines(unreadable)[0]


def test_a_block_run_is_not_told_to_do_what_is_refused() -> None:
    of_blocks = replace(PLAIN, info={**PLAIN.info, "of_blocks": True})
    _, texts = drawn(of_blocks)
    said = [*texts, *branch_lines(of_blocks)]
    assert not any("diffengine branch" in text for text in said)
    assert sum("goes block by block" in text for text in said) == 2


def test_the_curve_goes_from_0_to_all_of_it(branched: Analysis) -> None:
    ax, texts = drawn(branched)
    whole = float(branched["answer_entropy/miller_madow"].values[0])
    curve = line_called(ax, "decided")
    assert list(curve.get_xdata()) == list(GRID)
    values = branched["answer_information/miller_madow"].values
    np.testing.assert_array_equal(curve.get_ydata(), values[list(GRID)])
    end = line_called(ax, "the end")
    assert (end.get_xdata()[-1], end.get_ydata()[-1]) == (48, whole)
    level = line_called(ax, "all of it")
    assert set(level.get_ydata()) == {whole}
    assert ax.get_xlim()[1] > 48
    assert any("n = 200" in text and "16 answers" in text for text in texts)
    assert any("continued at temperature 1" in text for text in texts)


def test_1_on_the_right_stands_at_all_of_it(branched: Analysis) -> None:
    ax, _ = drawn(branched)
    right = next(each for each in ax.figure.axes if each is not ax)
    whole = float(branched["answer_entropy/miller_madow"].values[0])
    at_level = ax.transData.transform((0, whole))[1]
    assert right.transData.transform((0, 1.0))[1] == pytest.approx(at_level)
    assert right.transData.transform((0, 0))[1] == pytest.approx(ax.transData.transform((0, 0))[1])
    shown = line_called(right, "90 %")
    expected = branched["decided/nine_tenths"].values[list(GRID)]
    np.testing.assert_array_equal(shown.get_ydata(), expected)


def test_the_finding_names_the_step_by_which_half_is_decided(branched: Analysis) -> None:
    decided = branched["answer_information/miller_madow"].values
    whole = float(branched["answer_entropy/miller_madow"].values[0])
    first = next(t for t in GRID if decided[t] >= whole / 2)
    share = 100 * decided[first] / whole
    assert finding(branched) == f"Answer: {share:.0f} % of 2.8 bits decided by step {first}"
    early = MADE.with_branches(PLAIN, MADE.draws_of(200, (0, 6)))
    assert finding(early).startswith("Answer: only ") and finding(early).endswith("by step 6")


def test_nothing_to_decide(branched: Analysis) -> None:
    draws = MADE.draws_of(40, GRID)
    certain = MADE.with_branches(PLAIN, replace(draws, label=np.zeros_like(draws.label)))
    assert finding(certain).endswith("nothing to decide, every draw gives one answer")
    drawn(certain)
    assert "nan" not in " ".join(branch_lines(certain))


def test_without_step_0_what_is_open_is_drawn() -> None:
    late = MADE.with_branches(PLAIN, MADE.draws_of(200, (12, 24, 36)))
    ax, texts = drawn(late)
    assert line_called(ax, "open").get_ydata()[0] > line_called(ax, "open").get_ydata()[-1]
    assert line_called(ax, "the end").get_ydata()[-1] == 0
    assert any("H(A | x_t) from step 12 on" in text for text in texts)
    assert any(
        "undefined: the first step with branches is 12" in line for line in branch_lines(late)
    )


def test_a_single_step_can_be_drawn() -> None:
    single = MADE.with_branches(PLAIN, MADE.draws_of(200, (0,)))
    drawn(single)
    assert branch_lines(single)


def test_too_few_draws_are_said() -> None:
    """R = 4 of twelve answers: at first all but different, later not."""
    few = MADE.with_branches(PLAIN, MADE.draws_of(100, GRID, samples=4))
    saturated = few.info["branching"]["saturated"]
    assert saturated and saturated[0] == 0 and GRID[-1] not in saturated
    _, texts = drawn(few)
    said = "R = 4 cannot tell more than 2 bits apart"
    assert any(said in text for text in texts)
    lines = branch_lines(few)
    assert any(line.startswith("insufficient at steps 0, ") and said in line for line in lines)
    one = MADE.with_branches(PLAIN, MADE.draws_of(100, GRID, samples=1))
    assert any("R = 1 cannot tell more than 0 bits apart" in text for text in drawn(one)[1])


def test_what_is_missing_stands_in_the_heading(branched: Analysis) -> None:
    facts = {**branched.info["branching"], "missing": 7}
    cut = replace(branched, info={**branched.info, "branching": facts})
    assert any("unfinished: 7 branches missing" in text for text in drawn(cut)[1])
    assert "unfinished: 7 of 25600 branches missing" in branch_lines(cut)[0]


def test_where_no_state_is_whole_the_summary_says_so_once() -> None:
    draws = MADE.draws_of(40, GRID)
    label = draws.label.copy()
    label[:, : len(GRID), 0] = -1
    cut = MADE.with_branches(PLAIN, replace(draws, label=label))
    lines = branch_lines(cut)
    assert len(lines) == 3 and lines[2].startswith(
        "insufficient: no problem has all branches of a state (R = 16)"
    )
    assert "320 branches missing" in lines[2]
    assert any("320 branches missing" in text for text in drawn(cut)[1])


def test_the_summary_has_the_numbers_and_the_table(branched: Analysis) -> None:
    lines = branch_lines(branched)
    text = "\n".join(lines)
    assert "nan" not in text.replace("nan ", "")
    assert lines[0].startswith("200 problems, R = 16, temperature 1, policy llada, at steps 0, 6,")
    assert "no mutual information" in lines[1]
    assert lines[2].startswith("H(A | x_0) = 2.79 (") and "Chao-Shen" in lines[2]
    title = next(place for place, line in enumerate(lines) if line.startswith("beside the run's"))
    header = lines[title + 1].split()
    assert header[0] == "step" and {"confidence/answer_slot", "entropy/masked", "mi/ross"} <= set(
        header
    )
    table = lines[title + 2 : title + 2 + len(GRID)]
    assert [int(line.split()[0]) for line in table] == list(GRID)
    for line, step in zip(table, GRID, strict=True):
        mi = branched["mi/ross"].values[step]
        assert f"{mi:.3g}" in line and f"{branched['entropy/masked'].values[step]:.3g}" in line


def test_other_laws_are_named_and_not_pooled(branched: Analysis) -> None:
    facts = {**branched.info["branching"], "others": ["d00d: R = 8, temperature 2"]}
    both = replace(branched, info={**branched.info, "branching": facts})
    assert branch_lines(both)[-1] == "not pooled, not shown: d00d: R = 8, temperature 2"
