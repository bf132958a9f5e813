"""The tables of a comparison of decoders: every number readable, every caveat said, and the lines
of comparison.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from compared_runs import generations, one_a_step

from diffengine.analysis.compare.generations import Generations, read_generations
from diffengine.analysis.compare.methods import methods
from diffengine.analysis.compare.side_by_side import COLUMNS, write_comparison
from diffengine.analysis.compare.standing import Standing, standings
from diffengine.analysis.compare.tradeoff import caveats, tradeoff_lines, tradeoff_text

TOKENS = [[1, 2, 3, 4]] * 20


def compared() -> list[Standing]:
    exact = one_a_step(TOKENS, verdict=[1] * 20)
    steps = [[0, 0, 1, 1]] * 20
    others = [[1, 2, 3, 4]] * 15 + [[1, 2, 3, 8]] * 5
    loose = generations(
        "loose", others, steps, verdict=[1] * 19 + [0], policy="threshold", threshold=0.6
    )
    tight = generations("tight", TOKENS, steps, policy="threshold", threshold=0.9)
    return standings([exact, loose, tight])


def cells(text: str, run: str) -> list[list[str]]:
    """The lines of the tables that are of one run, as cells."""
    lines = [line for line in text.splitlines() if line.startswith(f"{run}  ")]
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in lines]


def test_the_tables_by_hand() -> None:
    rows = compared()
    text = tradeoff_text(rows, methods(rows))
    (gains,) = cells(text, "exact")
    assert gains == ["exact", "1.00", "1.00", "4.0 +- 0", "100 % (83.9 to 100)"]
    gains, strays = cells(text, "loose")
    assert gains[:5] == ["loose", "2.00", "2.00", "2.0 +- 0", "95 % (76.4 to 99.1)"]
    assert gains[5].startswith("-5.0 (")
    assert strays[:2] == ["loose", "exact"]
    assert strays[2].startswith("100 %") and strays[3].startswith("75 %")
    assert strays[5] == "1 (1 to 1)"
    assert "AUP of threshold: " in text and "3 points, exact among them" in text


def test_where_nothing_diverges_it_is_never() -> None:
    fast = generations("fast", TOKENS, [[0, 0, 1, 1]] * 20)
    rows = standings([one_a_step(TOKENS), fast])
    assert cells(tradeoff_text(rows, []), "fast")[1][5] == "never"


def exact(**more: object) -> Generations:
    return one_a_step([[1, 2]] * 2, **more)


def fast(**more: object) -> Generations:
    return generations("fast", [[1, 2]] * 2, [[0, 0]] * 2, **more)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (fast(), exact(), "fast is no decoding of one token a step: a step of it commits up to 2"),
        (exact(temperature=0.7), fast(), "exact was sampled at temperature 0.7"),
        (exact(), fast(unfinished="3 missing"), "fast: 3 missing"),
        (exact(), fast(keys=["p0", "x"]), "fast and exact share 1 problem, of 2 and 2"),
        (exact(), one_a_step([[1, 2]], name="few"), "few and exact share 1 problem, of 1 and 2"),
        (exact(), fast(fingerprint="other"), "divergence is undefined: exact and fast are of"),
        (exact(), fast(eos=None), "fast: before EOS is undefined, the run does not say"),
    ],
)
def test_what_a_reader_must_know_is_said(
    first: Generations, second: Generations, said: str
) -> None:
    rows = standings([first, second])
    assert any(sentence.startswith(said) for sentence in caveats(rows)), caveats(rows)
    assert said in tradeoff_text(rows, methods(rows))


def test_an_exact_greedy_run_needs_no_caveat() -> None:
    assert caveats(standings([exact(), fast()])) == []


def test_a_run_without_a_finished_problem_is_undefined_everywhere() -> None:
    held = exact(keys=["p0", "p1"])
    empty = held._replace(
        name="empty",
        keys=[],
        verdict=held.verdict[:0],
        n_forwards=held.n_forwards[:0],
        token=held.token[:0],
        commit_step=held.commit_step[:0],
        text=[],
        answer=[],
    )
    for runs in ([held, empty], [empty, held], [empty, empty]):
        rows = standings(runs)
        text = tradeoff_text(rows, methods(rows))
        for line in cells(text, "empty"):
            assert set(line[1:]) <= {"undefined", "exact", "empty"}
        assert "AUP of llada: undefined, empty has no accuracy" in text


def test_problems_with_one_id_and_two_texts_are_counted() -> None:
    other = fast()
    other = other._replace(keys=[other.keys[0], ("p1", "another question")])
    (sentence,) = caveats(standings([exact(), other]))
    assert sentence.endswith("1 with one id but another text")


def test_the_csv_reads_back(tmp_path: Path) -> None:
    rows = compared()
    lines = tradeoff_lines(rows, methods(rows), with_accuracy=True)
    path = write_comparison([], tmp_path / "comparison.csv", more=lines)
    table = list(csv.DictReader(path.open()))
    assert tuple(table[0]) == COLUMNS
    by_name = {(row["run"], row["quantity"]): row for row in table}
    loose = by_name["loose", "parallel/tokens_per_forward"]
    assert (float(loose["value"]), loose["units"]) == (2, "tokens per forward")
    assert (loose["setting"], loose["reference"], loose["policy"]) == ("0.6", "exact", "threshold")
    share = by_name["loose", "stray/same_text"]
    assert (float(share["value"]), share["n"], share["stderr"]) == (0.75, "20", "")
    assert float(share["low"]) < 0.75 < float(share["high"])
    median = by_name["loose", "stray/divergence_median"]
    assert (float(median["value"]), median["n"]) == (1, "5")
    assert by_name["tight", "stray/divergence_median"]["status"].endswith("no problem diverges")
    assert by_name["", "aup"]["policy"] == "threshold"
    assert ("exact", "stray/same_text") not in by_name
    assert float(by_name["exact", "accuracy"]["value"]) == 1


def test_accuracies_are_left_to_the_analyses_where_there_are_some() -> None:
    rows = compared()
    lines = tradeoff_lines(rows, methods(rows), with_accuracy=False)
    place = COLUMNS.index("quantity")
    assert "accuracy" not in {line[place] for line in lines}


def test_a_run_in_memory_is_reduced_to_what_is_compared(make_run, make_columns, fake_run) -> None:
    columns = make_columns(70, 8, 8)
    columns["generated_text"] = texts_of(70)
    columns["extracted_answer"] = texts_of(70)
    columns["token"] = np.arange(columns["token"].size).reshape(columns["token"].shape)
    run = fake_run(columns)
    held = read_generations(run, name="x")
    assert (held.name, len(held.keys), held.token.shape) == ("x", 70, (70, 8))
    assert held.most_at_once == 1
    steps = columns["committed"].argmax(axis=1)
    assert (held.commit_step == steps).all()
    assert (held.token == columns["token"][:, -1]).all()
    assert held.text[69] == "text 69"
    assert (held.correct == columns["verdict"]).all()


def texts_of(n: int) -> np.ndarray:
    return np.array([f"text {i}" for i in range(n)], object)
