"""Files as people have them: compressed, tables, parquet, standard input; and everything malformed
in one sentence."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import random
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from diffengine.engine.problems import files as problem_files
from diffengine.engine.problems.read import Problem, ProblemError, read_problems

LINES = b'{"question": "2+2?", "answer": "4"}\n{"question": "3+3?", "answer": "6", "level": 2}\n'
EXPECTED = [("2+2?", "4", 1), ("3+3?", "6", 2)]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None


def seen(problems: list[Problem]) -> list[tuple[str, str | None, int]]:
    return [(problem.question, problem.answer, problem.line) for problem in problems]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["p.jsonl.{}", "p.jsonl", "p", "p.json.{}"])
def test_compression_is_told_by_content(tmp_path: Path, kind: str, name: str) -> None:
    file = write(tmp_path / name.format(kind), PACK[kind](LINES))
    assert seen(read_problems(file).problems) == EXPECTED
    twice = write(tmp_path / "twice", PACK[kind](gzip.compress(LINES)))
    assert seen(read_problems(twice).problems) == EXPECTED
    assert (
        read_problems(file).sha256 == read_problems(write(tmp_path / "plain.jsonl", LINES)).sha256
    )


@pytest.mark.parametrize(("text", "name"), [
    ("question,answer,level\n2+2?,4,\n\n3+3?,6,2\n", "p.csv"),
    ("\ufeffquestion;answer;level\r\n2+2?;4;\r\n\r\n3+3?;6;2\r\n", "p.csv"),
    ("question\tanswer\tlevel\n2+2?\t4\t\n\n3+3?\t6\t2\n", "p.tsv"),
    ('"question","answer","level"\n"2+2?","4",""\n\n"3+3?","6","2"', "p.txt"),
])  # fmt: skip
def test_tables(tmp_path: Path, text: str, name: str) -> None:
    problems = read_problems(write(tmp_path / name, text.encode())).problems
    assert seen(problems) == [("2+2?", "4", 2), ("3+3?", "6", 4)]
    assert [dict(problem.columns) for problem in problems] == [{}, {"level": "2"}]
    packed = write(tmp_path / f"{name}.gz", gzip.compress(text.encode()))
    assert seen(read_problems(packed).problems) == seen(problems)


def test_cells_of_a_table(tmp_path: Path) -> None:
    long = "x" * 200_000
    text = (
        'question,choices,answer\n"two\nlines, ""quoted""",,\n'
        """Q?,"['a', ""b""]",1\nQ?,"[""a"", ""b""]",A\n[1] is a list?,,[1]\n"""
    )
    problems = read_problems(write(tmp_path / "p.csv", f"{text}{long},,4\n".encode())).problems
    assert [(one.line, one.answer) for one in problems] == [
        (2, None),
        (4, "B"),
        (5, "A"),
        (6, "[1]"),
        (7, "4"),
    ]
    assert (
        problems[0].question == 'two\nlines, "quoted"' and problems[3].question == "[1] is a list?"
    )
    assert problems[1].question.startswith("Q?\n\nA. a\nB. b\n") and len(
        problems[4].question
    ) == len(long)


def test_a_row_of_another_length_is_a_bad_line(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", b"question,answer\n1,000?,3\n2+2?,4\nalone\n")
    with pytest.raises(ProblemError) as caught:
        read_problems(file)
    assert [bad.line for bad in caught.value.bad_lines] == [2, 4]
    assert "3 cells, but the first row names 2 columns" in str(caught.value)
    assert seen(read_problems(file, skip_bad=True).problems) == [("2+2?", "4", 3)]


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, LINES)
    return out.getvalue()


# 50 files that are not problems, with what is said of each.
MALFORMED: list[tuple[str, bytes, str]] = [
    ("p.zip", zipped("p.jsonl"), "a zip archive"), ("p.xlsx", zipped("xl/workbook.xml"), "save the table as CSV"),
    ("p.jsonl.zst", b"\x28\xb5\x2f\xfd\x04\x00", "zstd -d"), ("p.7z", b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive"),
    ("p.rar", b"Rar!\x1a\x07", "a rar archive"), ("p.xls", b"\xd0\xcf\x11\xe0\xa1", "an old Office file"),
    ("p.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"), ("p.npy", b"\x93NUMPY\x01\x00", "a numpy array"),
    ("p.db", b"SQLite format 3\x00", "an SQLite database"), ("p.arrow", b"ARROW1\x00\x00", "an Arrow file"),
    ("data.arrow", b"\xff\xff\xff\xff\x78\x02", "an Arrow stream"), ("p.avro", b"Obj\x01\x04", "an Avro file"),
    ("p.orc", b"ORC\x0a", "an ORC file"), ("p.pdf", b"%PDF-1.7\n", "a PDF"),
    ("p.pkl", b"\x80\x04\x95\x10\x00", "which is never opened"),
    ("p.tar", b"p.jsonl".ljust(257, b"x") + b"ustar" + b"0" * 300, "a tar archive"),
    ("p.tar.gz", gzip.compress(b"p.jsonl".ljust(257, b"x") + b"ustar" + b"0" * 300), "a tar archive"),
    ("lfs.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ("page.jsonl", b"\n <!DOCTYPE html><html>", "a web page"), ("asdiv.xml", b"<?xml version='1.0'?>", "XML"),
    ("u16.jsonl", "{}".encode("utf-16"), "UTF-16, expected UTF-8"),
    ("u16be.jsonl", b"\xfe\xff" + '{"question"'.encode("utf-16-be"), "UTF-16, expected UTF-8"),
    ("u16le.jsonl", '{"question"'.encode("utf-16-le"), "UTF-16 without a mark"),
    ("u32.jsonl", '{"question"'.encode("utf-32"), "a binary file"), ("random.bin", b"\x00\x01\x02", "a binary file"),
    ("latin.jsonl", b'{"question": "caf\xe9", "answer": "1"}\n', "is not UTF-8"),
    ("latin.csv", b"question,answer\ncaf\xe9,1\n", "latin.csv:2: byte 0xe9 is not UTF-8"),
    ("latin.json", b'[{"question": "caf\xe9"}]', "byte 0xe9 is not UTF-8"),
    ("cut.gz", gzip.compress(LINES)[:-9], "its gzip compression breaks off"),
    ("head.gz", b"\x1f\x8b", "its gzip compression"), ("wrong.gz", b"\x1f\x8b" + b"x" * 50, "its gzip compression"),
    ("crc.gz", gzip.compress(LINES)[:-8] + b"\0" * 8, "its gzip compression"),
    ("cut.bz2", bz2.compress(LINES)[:-4], "its bzip2 compression"), ("wrong.bz2", b"BZh9nonsense", "its bzip2"),
    ("cut.xz", lzma.compress(LINES)[:-4], "its xz compression"), ("wrong.xz", b"\xfd7zXZ\x00xx", "its xz"),
    ("empty.gz", gzip.compress(b""), "holds no problems"), ("empty.csv", b"", "holds no problems"),
    ("head.csv", b"question,answer\n", "holds no problems"),
    ("nohead.tsv", b"Janet has 3 ducks.\t3\nTom has 4.\t4\n", "the first row names no column of "
                                                              "questions"),
    ("nohead.csv", b"What?,a,b,c,d,A\n", "the first row names no column of questions"),
    ("double.csv", b"question,answer,answer\n1,2,3\n", "two columns are called 'answer'"),
    ("quote.csv", b'question,answer\n"open,3\n', "cannot be read as a table"),
    ("quote2.csv", b'question,answer\n"a"b,3\n', "cannot be read as a table"),
    ("only.csv", b"question\nQ?\n", "no `answer`"),
    ("words.txt", b"Janet has three ducks.\nTom has four.\n", "begins with 'Janet has three "
                                                              "ducks.'"),
    ("list.yaml", b"- question: 2+2?\n  answer: 4\n", "none of the forms that are read"),
    ("code.py", b"import os\nprint(1)\n", "none of the forms that are read"),
    ("numbers.txt", b"1\n2\n", "a JSON number, expected an object"),
    ("null.json", b"null", "a JSON null, expected an object"), ("open.json", b"[", "the list cannot be read"),
    ("list.json", b"[[1]]", "a JSON list, expected an object"), ("comma.json", b"[,]", "the list cannot be read"),
    ("nested.jsonl", b"[" * 3000 + b"]" * 3000, "cannot be read"), ("cut.jsonl", b'{"question": "Q', "not JSON"),
    ("python.jsonl", b"{'question': 'Q', 'answer': '1'}\n", "not JSON"),
    ("deep.jsonl", b'{"question": "Q", "answer": "1", "x": ' + b'{"a": ' * 900 + b"1" + b"}" * 901, ""),
    ("wrapped.json", b'{"train": [{"question": "Q"}]}', "holds its records in the list `train`"),
    ("parquet.jsonl", b"PAR1\x15\x04", "damaged parquet file" if HAS_PYARROW else "needs pyarrow"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "says"), MALFORMED, ids=[name for name, *_ in MALFORMED])
def test_malformed_files_are_one_error(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    file = write(tmp_path / name, data)
    for skip_bad in (False, True):
        try:
            read_problems(file, skip_bad=skip_bad)
        except ProblemError as error:
            assert says in str(error) and str(file) in str(error)
            continue
        assert not says  # a column nested as deep as JSON itself may be
    if "compression" in says or "archive" in says:
        assert "Traceback" not in says


def test_what_is_not_read_is_told_what_is(tmp_path: Path) -> None:
    for name, data, _ in MALFORMED[:20]:
        with pytest.raises(ProblemError, match=re.escape(problem_files.READ_FORMS)):
            read_problems(write(tmp_path / name, data))


def test_a_small_file_that_unpacks_to_very_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem_files, "MOST_BYTES", 1 << 20)
    with pytest.raises(ProblemError, match="unpacks to more than"):
        read_problems(write(tmp_path / "bomb.gz", gzip.compress(b"\n" * (3 << 20))))


def test_damage_anywhere_is_an_error_or_nothing(tmp_path: Path) -> None:
    """600 seeded damages of five kinds of files: a ProblemError or problems, never anything
    else."""
    draw = random.Random(11)
    table = b'question,choices,answer\n"2+2?","[1, 2]",B\n3+3?,,6\n'
    listed = b'[{"question": "2+2?", "answer": ["4", "four"]}, {"messages": [{"role": "user", "content": "x"}]}]'
    for whole in (LINES, gzip.compress(LINES), lzma.compress(table), table, listed):
        for _ in range(120):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            data = data[: draw.randint(0, len(data))] if draw.random() < 0.3 else data
            try:
                read_problems(write(tmp_path / "p", bytes(data)), skip_bad=draw.random() < 0.5)
            except ProblemError:
                continue


@pytest.mark.parametrize("n_rows", [0, *([3, 2500] if HAS_PYARROW else [])])
def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    if n_rows == 0:  # without pyarrow it is one sentence
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(
            ProblemError, match="is a parquet file, which needs pyarrow: pip install pyarrow"
        ):
            read_problems(write(tmp_path / "p.parquet", b"PAR1" + b"\0" * 20))
        return
    import datetime
    from decimal import Decimal

    import pyarrow
    import pyarrow.parquet

    rows = [{"question": f"{n}?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2",
             "score": float("nan"), "day": datetime.date(2026, 1, 2), "price": Decimal("1.50"), "image": b"abc"}
            for n in range(n_rows)]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    problems = read_problems(tmp_path / "p.parquet").problems
    assert [(one.answer, one.line) for one in problems] == [("B", n + 1) for n in range(n_rows)]
    assert problems[0].question.startswith("0?\n\nA. x\nB. y")
    assert problems[0].columns["day"] == "2026-01-02" and problems[0].columns["price"] == "1.50"
    assert (
        problems[0].columns["image"] == "3 bytes that were not kept"
        and problems[0].columns["score"] is None
    )
    whole = (tmp_path / "p.parquet").read_bytes()
    for cut in (8, len(whole) // 2, len(whole) - 5):
        with pytest.raises(ProblemError, match="damaged parquet file"):
            read_problems(write(tmp_path / "cut.parquet", whole[:cut]))


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize(
    "data",
    [LINES, gzip.compress(LINES), b"question,answer,level\n2+2?,4,\n3+3?,6,2\n"],
    ids=["lines", "gzip", "csv"],
)
def test_standard_input_is_read_in_every_form(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    pipe(monkeypatch, data)
    found = read_problems("-")
    assert [(one.question, one.answer) for one in found.problems] == [("2+2?", "4"), ("3+3?", "6")]
    assert found.source == found.problems[0].source == "standard input"


def test_standard_input_that_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, LINES)
    with pytest.raises(
        ProblemError, match="standard input is empty .`-` can be given once.; pipe a file into it"
    ):
        read_problems(["-", "-"])
    pipe(monkeypatch, b'{"question": \n')
    with pytest.raises(ProblemError, match="standard input:1: not JSON"):
        read_problems("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ProblemError, match="standard input is closed"):
        read_problems("-")
    end, terminal = os.openpty()
    try:
        with open(terminal, closefd=False) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            with pytest.raises(
                ProblemError, match="standard input is a terminal; pipe a file into it"
            ):
                read_problems("-")
    finally:
        os.close(end)
        os.close(terminal)


@pytest.mark.parametrize(("name", "is_hub"), [
    ("openai/gsm8k", True), ("hf://datasets/openai/gsm8k", True), ("HuggingFaceH4/MATH-500", True),
    ("data/gsm8k.jsonl", False), ("/openai/gsm8k", False), ("a/b/c", False), ("gsm8k", False),
])  # fmt: skip
def test_the_name_of_a_data_set_is_told_how_to_become_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_hub: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError, match="^no file ") as caught:
        read_problems(name)
    assert ("hf download" in str(caught.value)) == is_hub
    if is_hub:
        repository = "/".join(name.split("/")[-2:])
        assert f"hf download {repository} --repo-type dataset" in str(caught.value)
    assert json.dumps(str(caught.value)).count("\\n") == 0


def test_an_address_is_not_fetched() -> None:
    with pytest.raises(ProblemError, match="nothing is downloaded here, fetch the file first"):
        read_problems("https://example.org/gsm8k.jsonl")
