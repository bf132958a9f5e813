"""Reading problems: files and named sources, stable ids, selection, and the round trip."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from diffengine.engine.models.bundled.generator import is_held_out
from diffengine.engine.problems.normal_form import load_problems, write_problems
from diffengine.engine.problems.read import (
    Problem,
    ProblemError,
    read_problems,
)

GSM8K = Path(__file__).parents[3].parent / "shared" / "data" / "gsm8k_test.jsonl"
ONE = {"question": "2+2?", "answer": "4"}


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read_one(tmp_path: Path, record: object) -> Problem:
    return read_problems(write(tmp_path / "p.jsonl", record)).problems[0]


def test_all_bad_lines_are_reported_together_and_ten_are_shown(tmp_path):
    path = write(tmp_path / "p.jsonl", ONE, *range(13))
    with pytest.raises(ProblemError, match="13 of 14 records") as caught:
        read_problems(path)
    assert [bad.line for bad in caught.value.bad_lines] == list(range(2, 15))
    assert str(caught.value).count("a JSON number") == 10
    assert "... and 3 more" in str(caught.value) and "--skip-bad" in str(caught.value)
    found = read_problems(path, skip_bad=True)
    assert len(found.problems) == 1 and found.skipped == caught.value.bad_lines
    assert found.sha256 == read_problems(write(tmp_path / "good.jsonl", ONE)).sha256


def test_skip_bad_with_nothing_left_is_an_error(tmp_path):
    with pytest.raises(ProblemError, match="no other problem to run"):
        read_problems(write(tmp_path / "p.jsonl", 1, 2), skip_bad=True)


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"question": "2+2?", "answer": "4"}\r\n\r\n   \n{"question": "\xc3\xa9?", "answer": "5"}',
        b'\xef\xbb\xbf [{"question": "2+2?", "answer": "4"},\r\n\n\n{"question": "\xc3\xa9?", "answer": "5"}\n]\n',
    ],
)
def test_byte_order_mark_line_ends_blank_lines_and_lists(tmp_path, content):
    for name in ("p.jsonl", "p.json", "p.txt"):
        (tmp_path / name).write_bytes(content)
        problems = read_problems(tmp_path / name).problems
        assert [(one.question, one.answer, one.line) for one in problems] == [
            ("2+2?", "4", 1),
            ("é?", "5", 4),
        ]


def test_a_json_file_may_hold_one_object_over_several_lines_or_lines_of_objects(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(ONE, indent=2))
    assert len(read_problems(tmp_path / "p.json").problems) == 1
    assert len(read_problems(write(tmp_path / "q.json", ONE, ONE)).problems) == 2


def test_an_item_of_a_list_may_be_bad_with_its_line(tmp_path):
    (tmp_path / "p.json").write_text('[\n{"question": "2+2?", "answer": "4"},\n17\n]')
    with pytest.raises(ProblemError, match=r"p\.json:3: a JSON number"):
        read_problems(tmp_path / "p.json")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "holds no problems"),
        (b" \n\r\n", "holds no problems"),
        (b"[]", "holds no problems"),
        (b"\xef\xbb\xbf", "holds no problems"),
        (b"\xff\xfe{\x00", "UTF-16, expected UTF-8"),
        (b'[{"question": "Q", "answer": "1"}', "breaks off after the record that begins here"),
        (
            b'[{"question": "Q", "answer": "1"}, {"quest',
            "p.json:1: the list cannot be read from here on",
        ),
        (b'[\n{"question": "Q", "answer": "1"}]\n[', "text after the end of the list"),
        (b'[\n"\xff"]', "p.json:2: byte 0xff is not UTF-8"),
    ],
)
def test_files_that_hold_nothing_usable(tmp_path, content, expected):
    (tmp_path / "p.json").write_bytes(content)
    for skip_bad in (False, True):
        with pytest.raises(ProblemError, match=re.escape(expected)):
            read_problems(tmp_path / "p.json", skip_bad=skip_bad)


def test_wrong_paths_name_what_is_near(tmp_path):
    write(tmp_path / "gsm8k_test.jsonl", ONE)
    with pytest.raises(
        ProblemError, match=r"no file .*gsm8k_tset\.jsonl; close to it: gsm8k_test\.jsonl"
    ):
        read_problems(tmp_path / "gsm8k_tset.jsonl")
    with pytest.raises(
        ProblemError, match="is a directory, expected a file of problems; it holds gsm8k_test.jsonl"
    ):
        read_problems(tmp_path)
    with pytest.raises(ProblemError, match="close to it: samples"):
        read_problems("sample")
    with pytest.raises(ProblemError, match="too long"):
        read_problems("x" * 5000)
    with pytest.raises(ProblemError, match="the list of sources holds no problems"):
        read_problems([])


def test_ids_are_a_function_of_the_content_alone(tmp_path):
    other = {"question": "3+3?", "answer": "6"}
    gsm = {"question": "2+2?", "answer": "two and two\n#### 4", "level": 3}
    first = read_problems(write(tmp_path / "a.jsonl", ONE, other)).problems
    swapped = read_problems(write(tmp_path / "b.jsonl", other, gsm)).problems
    assert [one.id for one in first] == [one.id for one in reversed(swapped)]
    assert all(re.fullmatch(r"p-[0-9a-f]{12}", one.id) for one in first)
    chat = read_one(tmp_path, {"messages": [{"role": "user", "content": "2+2?"}], "answer": "4"})
    assert (
        len({first[0].id, first[1].id, chat.id, read_one(tmp_path, {**ONE, "answer": "5"}).id}) == 4
    )


def test_repeated_content_is_numbered_in_order_also_across_sources(tmp_path):
    path = write(tmp_path / "p.jsonl", ONE, ONE, {"question": "3+3?", "answer": "6"}, ONE)
    base, second, _, third = (one.id for one in read_problems(path).problems)
    assert (second, third) == (f"{base}-2", f"{base}-3")
    assert [one.id for one in read_problems([path, path]).problems][4:6] == [
        f"{base}-4",
        f"{base}-5",
    ]


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("id", "a/1", "a/1"),
        ("unique_id", "test/9.json", "test/9.json"),
        ("problem_id", 17, "17"),
        ("id", 0, "0"),
    ],
)
def test_explicit_ids_are_kept(tmp_path, key, value, expected):
    assert read_one(tmp_path, {**ONE, key: value}).id == expected
    path = write(tmp_path / "p.jsonl", {**ONE, key: value}, ONE, {**ONE, key: value})
    with pytest.raises(
        ProblemError, match=rf"p\.jsonl:3: the id '{expected}' is taken by .*p\.jsonl:1; ids must"
    ):
        read_problems(path)


def test_limit_and_ids_choose_but_the_hash_is_of_everything(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        *({"question": f"{n}?", "answer": n, "id": f"item-{n}"} for n in range(6)),
    )
    everything = read_problems(path)
    assert [one.id for one in read_problems(path, limit=2).problems] == ["item-0", "item-1"]
    assert read_problems(path, limit=0).problems == []
    chosen = read_problems(path, ids=["item-4", "item-1", "item-2"], limit=2)
    assert [one.id for one in chosen.problems] == ["item-1", "item-2"]
    assert read_problems(path, ids="item-3").problems == [everything.problems[3]]
    assert chosen.sha256 == everything.sha256
    with pytest.raises(ProblemError, match="limit is -1, expected 0 or more"):
        read_problems(path, limit=-1)
    with pytest.raises(ProblemError, match="'itm-3'; close to it: item-3") as caught:
        read_problems(path, ids=["itm-3", "zzz", "item-1"])
    assert "'zzz'; ids here look like: item-0" in str(caught.value)


def test_hash_sees_the_content_and_not_the_place(tmp_path):
    records = [ONE, ONE, {**ONE, "answer": "5"}, {**ONE, "solution": "s"}, {**ONE, "id": "x"}]
    hashes = {
        read_problems(write(tmp_path / f"{n}.jsonl", record)).sha256
        for n, record in enumerate(records)
    }
    assert len(hashes) == 4


def test_the_ten_samples_are_ours_held_out_and_right():
    problems = read_problems("samples").problems
    assert len(problems) == 10 and len({one.id for one in problems}) == 10
    assert all(is_held_out(one.question) for one in problems)
    numbers = [[int(n) for n in re.findall(r"\d+", one.question)] for one in problems]
    a, b, c, d, e, f, g, h, i, j = numbers
    truths = [
        a[0] + a[1],
        b[0] - b[1] + b[2],
        c[0] + c[1] - c[2] + c[3],
        d[0] * d[1],
        e[0] * e[1] + e[2] - e[3],
        f[0] * f[1] + f[2],
        g[0] * g[1] + g[2] - g[3],
        2 * h[0] + h[1],
        i[0] * i[1] - i[2],
        j[0] * j[1] - j[2] + j[3],
    ]
    assert [one.answer for one in problems] == [str(truth) for truth in truths]


def test_generated_problems_are_held_out_and_extend_each_other():
    few, many = read_problems("generated:5"), read_problems("generated:12:seed=0")
    assert few.problems == [
        one.__class__(**{**vars(one), "source": "generated:5"}) for one in many.problems[:5]
    ]
    assert all(
        is_held_out(one.question) and one.solution and one.solution.endswith(f"#### {one.answer}")
        for one in many.problems
    )
    other = read_problems("generated:12:seed=1").problems
    assert not {one.question for one in other} & {one.question for one in many.problems}


@pytest.mark.parametrize(
    "name",
    [
        "generated",
        "generated:",
        "generated:0",
        "generated:x",
        "generated:5:seed",
        "generated:1000001",
        "generated:-3",
        "generated:5:sed=1",
    ],
)
def test_malformed_names_of_generated_problems(name):
    with pytest.raises(ProblemError, match="expected generated:N or generated:N:seed=S"):
        read_problems(name)


def test_a_path_that_exists_wins_over_a_name_and_sources_combine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "samples", ONE)
    write(tmp_path / "generated:3", ONE)
    assert len(read_problems("samples").problems) == 1
    both = read_problems(["samples", "generated:4:seed=7", Path("generated:3")])
    assert [one.source for one in both.problems] == ["samples"] + ["generated:4:seed=7"] * 4 + [
        "generated:3"
    ]
    assert both.source == "samples + generated:4:seed=7 + generated:3"


def test_round_trip_is_exact(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        {"question": 'Zürich\u2028 \u0000 🙂 "x"\r\n', "answer": None},
        ONE,
        {"messages": [{"role": "user", "content": "Q"}], "answer": 5, "solution": "s", "id": "c"},
    )
    problems = read_problems(path).problems
    write_problems(tmp_path / "problems.jsonl", problems)
    assert load_problems(tmp_path / "problems.jsonl") == problems
    assert [one.name for one in tmp_path.iterdir()].count("problems.jsonl") == 1 and not list(
        tmp_path.glob(".*")
    )
    keys = ["id", "question", "answer", "messages", "solution", "source", "line"]
    assert [
        list(json.loads(line)) for line in (tmp_path / "problems.jsonl").read_text().splitlines()
    ] == [keys] * 3
    again = read_problems(tmp_path / "problems.jsonl").problems
    assert [(one.id, one.question, one.answer, one.messages) for one in again] == [
        (one.id, one.question, one.answer, one.messages) for one in problems
    ]


@pytest.mark.parametrize(
    "content, expected",
    [
        (None, "is this a run"),
        (b"\xff", "is damaged"),
        (b"{}\n", r"problems.jsonl:1 is not a problem"),
        (
            b'{"id": "a", "question": "q", "answer": null, "messages": null, "x": 1}',
            "problems.jsonl:1 is not a problem",
        ),
        (
            b'{"id": 5, "question": "q", "answer": null, "messages": null}',
            "id and question must be strings",
        ),
    ],
)
def test_loading_a_damaged_file_names_the_line(tmp_path, content, expected):
    path = tmp_path / "problems.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProblemError, match=expected):
        load_problems(path)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    problems = read_problems("samples").problems
    write_problems(tmp_path / "problems.jsonl", problems)

    def broken():
        yield problems[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_problems(tmp_path / "problems.jsonl", broken())
    assert load_problems(tmp_path / "problems.jsonl") == problems
    assert [one.name for one in tmp_path.iterdir()] == ["problems.jsonl"]


@pytest.mark.parametrize(
    "source, count, first",
    [
        ("samples", 10, ("23", "Mia has")),
        *([(GSM8K, 1319, ("18", "Janet\u2019s"))] if GSM8K.exists() else []),
    ],
)
def test_real_files_are_read_whole(source, count, first):
    problems = read_problems(source).problems
    assert len(problems) == count == len({one.id for one in problems})
    assert all(re.fullmatch(r"-?[\d,]+(\.\d+)?", one.answer or "") for one in problems)
    assert problems[0].answer == first[0] and problems[0].question.startswith(first[1])
