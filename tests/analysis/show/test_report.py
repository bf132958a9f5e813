"""report.html is one offline file, holds the run's data within its quantisation, and lets no text
become markup."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.show import report
from diffengine.analysis.show.report import assemble, embed, page_data, write_report
from diffengine.analysis.show.report_problems import choose
from diffengine.engine.store import open_run

_spec = importlib.util.spec_from_file_location(
    "synthetic_run", Path(__file__).parents[1].joinpath("synthetic_run.py")
)
assert _spec is not None and _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</ScRiPt >",
    "<!--<script>",
    "]]>",
    "{{script}} {{data}}",
    "\"quotes\" 'single' `back` ${tick}",
    "emoji 😀 family 👩‍👩‍👧",
    "rtl \u202eevil\u202c שלום",
    "line\u2028para\u2029end",
    "lone \ud800 half",
    "<img src=x onerror=alert(3)>",
    "&lt;b&gt; &amp;",
    "back\\slash \\u003c",
]


class Page(HTMLParser):
    """The elements and the data block that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[int, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        index = len(self.tags) - 1
        self.contents[index] = self.contents.get(index, "") + data

    @property
    def data(self) -> Any:
        index = next(
            i
            for i, (tag, attrs) in enumerate(self.tags)
            if tag == "script" and attrs.get("type") == "application/json"
        )
        return json.loads(self.contents[index])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make_run(
        tmp_path_factory.mktemp("report") / "run", 7, steps=12, positions=24, block=8
    )


def _write(run_dir: Path, out: Path, **choices: Any) -> str:
    with open_run(run_dir) as run:
        return write_report(run, analyze_run(run), out, **choices).read_text("utf-8")


def test_the_data_block_equals_the_run_within_quantisation(small: Path, tmp_path: Path) -> None:
    data = Page(_write(small, tmp_path / "report.html")).data
    with open_run(small) as run:
        assert [problem["id"] for problem in data["problems"]] == run.ids
        for row, problem in enumerate(data["problems"]):
            for name, truth in (
                ("confidence", np.exp(run["logprob"][row])),
                ("entropy", run["entropy"][row]),
                ("kl", run["kl"][row]),
            ):
                coding = data["codings"][name]
                codes = np.frombuffer(base64.b64decode(problem[name]), np.uint8).reshape(
                    truth.shape
                )
                np.testing.assert_array_equal(codes == 255, np.isnan(truth))
                share = np.where(codes == 255, np.nan, codes / 254.0)
                exact = (truth / coding["scale"]) ** (1 / coding["power"])
                np.testing.assert_allclose(share, exact, atol=0.5 / 254 + 1e-6)
            shown = np.frombuffer(base64.b64decode(problem["shown"]), "<u2").reshape(
                run["token"].shape[1:]
            )
            flags = np.frombuffer(base64.b64decode(problem["flags"]), np.uint8).reshape(shown.shape)
            masked = run["token"][row] == synthetic.MASK
            np.testing.assert_array_equal(flags & 1, masked)
            np.testing.assert_array_equal(flags >> 1, run["committed"][row])
            expected = np.where(masked, run["prediction"][row], run["token"][row])
            texts = np.array(data["tokens"], dtype=object)[shown]
            np.testing.assert_array_equal(
                texts, np.array(synthetic.ALPHABET, dtype=object)[expected]
            )
            assert problem["generated_text"] == run["generated_text"][row]


def test_the_gold_line_is_the_joint_probability_at_the_answer(small: Path, tmp_path: Path) -> None:
    data = Page(_write(small, tmp_path / "report.html")).data
    with open_run(small) as run:
        row, problem = 1, data["problems"][1]
        start, gold = int(run["answer_start"][row]), run["answer_token_id"][row]
        committed = run["committed"][row]
        for step in range(12):
            total = 0.0
            for offset, token in enumerate(gold):
                if token >= 0:
                    at = min(step, int(committed[:, start + offset].argmax()))
                    total += float(run["answer_logprob"][row][at, start + offset, offset])
            assert problem["gold"][step] == pytest.approx(np.exp(total), rel=5e-3)
    assert data["problems"][-1]["answer"] is None and set(data["problems"][-1]["gold"]) == {None}


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run_dir = synthetic.make_run(
        tmp_path / "run", len(HOSTILE), steps=4, positions=24, block=8, questions=HOSTILE
    )
    (run_dir / "tokens.json").write_text(
        json.dumps({str(i): HOSTILE[i % len(HOSTILE)] for i in range(100)}), encoding="utf-8"
    )
    html = _write(run_dir, tmp_path / "report.html")
    parsed, clean = (
        Page(html),
        Page(
            _write(
                synthetic.make_run(tmp_path / "clean", 3, steps=4, positions=24),
                tmp_path / "clean.html",
            )
        ),
    )
    assert [tag for tag, _ in parsed.tags] == [tag for tag, _ in clean.tags]
    assert [problem["question"] for problem in parsed.data["problems"]] == HOSTILE
    assert set(parsed.data["tokens"]) <= set(HOSTILE)
    assert html.lower().count("<script") == 2 == html.lower().count("</script")


def test_a_hostile_run_name_stays_text(small: Path, tmp_path: Path) -> None:
    named = shutil.copytree(small, tmp_path / "<title><script>alert(4)<script>")
    with open_run(named) as run:
        html = assemble(page_data(run, None, max_problems=3))
    parsed = Page(html)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 2
    assert parsed.data["run"] == "<title><script>alert(4)<script>"


@pytest.mark.parametrize("value", HOSTILE)
def test_embed_is_json_and_has_no_character_of_html(value: str) -> None:
    text = embed({"text": [value]})
    assert json.loads(text) == {"text": [value]}
    assert text.isascii() and not set("<>&") & set(text)


def test_embed_refuses_values_that_browsers_cannot_parse() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embed({"value": float("nan")})


def test_nothing_is_fetched_and_only_our_script_may_run(small: Path, tmp_path: Path) -> None:
    html = _write(small, tmp_path / "report.html")
    parsed = Page(html)
    assert "http://" not in html and "https://" not in html and "@import" not in html
    assert not any({"src", "href", "srcset", "action"} & set(attrs) for _, attrs in parsed.tags)
    assert not any(
        name.startswith("on") or name == "style" for _, attrs in parsed.tags for name in attrs
    )
    policy = next(
        attrs["content"]
        for tag, attrs in parsed.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and "default-src 'none'" in policy
    for tag in ("style", "script"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert len(body) == 1 and f"{tag}-src 'sha256-{digest}'" in policy


def test_the_script_makes_no_markup_from_text() -> None:
    assets = Path(report.__file__).with_name("assets")
    for name in report.SCRIPTS:
        script = (assets / name).read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new "
            r"Function|fetch\(|XMLHttp|import\(",
            script,
        )
    markup = (assets / "report.html").read_text("utf-8")
    scripts = "".join((assets / name).read_text("utf-8") for name in report.SCRIPTS)
    wanted = set(re.findall(r'byId\("([\w-]+)"\)', scripts))
    assert wanted <= set(re.findall(r'id="([\w-]+)"', markup))


def test_without_an_analysis_the_page_says_what_to_type(small: Path, tmp_path: Path) -> None:
    with open_run(small) as run:
        html = write_report(run, None, tmp_path / "report.html").read_text("utf-8")
    data = Page(html).data
    assert data["analysed"] is False and data["charts"] == [] and "diffengine analyze" in html


def test_charts_carry_the_analysis(small: Path, tmp_path: Path) -> None:
    data = Page(_write(small, tmp_path / "report.html")).data
    with open_run(small) as run:
        entropy = analyze_run(run)["entropy/all"].values
    line = next(chart for chart in data["charts"] if chart["title"] == "Entropy")["lines"][0]
    np.testing.assert_allclose(np.array(line["values"], float), entropy, rtol=6e-3)
    assert line["n"] == 7


@pytest.mark.parametrize("problems", [0, 1])
def test_runs_with_no_and_with_one_problem(problems: int, tmp_path: Path) -> None:
    run_dir = synthetic.make_run(tmp_path / "run", problems, steps=4, positions=24)
    with open_run(run_dir) as run:
        data = Page(write_report(run, None, tmp_path / "report.html").read_text("utf-8")).data
    assert len(data["problems"]) == problems == data["n_stored"]


def test_token_texts_come_from_the_run_or_are_ids(tmp_path: Path) -> None:
    run_dir = synthetic.make_run(tmp_path / "run", 2, steps=4, positions=24, tokens=False)
    with open_run(run_dir) as run:
        assert all(
            re.fullmatch(r"#\d+", text) for text in page_data(run, None, max_problems=2)["tokens"]
        )


def test_a_sample_is_mixed_fixed_and_announced(small: Path, tmp_path: Path) -> None:
    data = Page(_write(small, tmp_path / "report.html", max_problems=4)).data
    assert (data["n_shown"], data["n_stored"]) == (4, 7)
    assert sorted(problem["verdict"] for problem in data["problems"]).count("correct") == 2
    again = Page(_write(small, tmp_path / "again.html", max_problems=4)).data
    assert again == data


@pytest.mark.parametrize(
    ("right", "wrong", "limit", "taken"),
    [
        (900, 100, 200, (100, 100)),
        (990, 10, 200, (190, 10)),
        (3, 997, 200, (3, 197)),
        (0, 500, 200, (0, 200)),
        (500, 0, 200, (200, 0)),
        (50, 50, 200, (50, 50)),
        (5, 5, 0, (0, 0)),
        (5, 5, 1, (0, 1)),
    ],
)
def test_choose(right: int, wrong: int, limit: int, taken: tuple[int, int]) -> None:
    verdicts = np.random.default_rng(0).permutation(np.repeat([1, 0], [right, wrong]))
    rows = choose(verdicts, limit)
    assert rows == sorted(set(rows))
    assert (sum(verdicts[rows] == 1), sum(verdicts[rows] == 0)) == taken


def test_long_runs_are_cut_to_the_cells_a_page_may_hold(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_CELLS", 3 * 12 * 24)
    with open_run(small) as run:
        assert page_data(run, None, max_problems=200)["n_shown"] == 3


def test_two_hundred_problems_of_48_by_48_stay_under_6_megabytes(tmp_path: Path) -> None:
    run_dir = synthetic.make_run(tmp_path / "run", 200)
    with open_run(run_dir) as run:
        out = write_report(run, None, tmp_path / "report.html")
    assert out.stat().st_size < 6e6


def test_a_shifted_model_is_named_in_the_head_of_the_page(tmp_path: Path) -> None:
    path = synthetic.make_run(tmp_path / "run", 2, steps=24, positions=48, block=8)
    run = open_run(path)
    assert page_data(run, None, max_problems=2)["canvas"] == "24 steps, blocks of 8"
    run.info.setdefault("model", {})["read_offset"] = -1
    assert page_data(run, None, max_problems=2)["canvas"] == "24 steps, blocks of 8, shifted model"
