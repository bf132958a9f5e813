"""report.html: one file that shows a run problem by problem, offline, with a step slider over the
tokens.

Reads a run and, if there is one, its analysis; needs neither weights nor tokenizer (`tokens.json`
in the run directory, else ids). Everything that came from problems or models travels as JSON in a
data block and reaches the page as text only; the page's own script and style are the only ones its
content policy lets run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.store.write.results import publish
from ..analyzable import check_has_steps
from ..provenance import staleness
from ..results import Analysis
from .report_branches import branch_section, of_problems
from .report_curves import charts
from .report_facts import block_numbers, run_facts, size_of
from .report_problems import choose, codings, pack, read_problems, token_texts
from .values import blocks_in_words, ends_in_words

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_CELLS = 6_000_000
"""Steps x positions x problems that a page may hold, at about 8 bytes each."""

IN_PAGE = "a line ends where fewer than half of them do"

STYLE = "report.css"
SCRIPTS = ("report_charts.js", "report_branches.js", "report.js")
TEMPLATE = "report.html"


def write_report(
    run: Run, analysis: Analysis | None, out: str | Path, *, max_problems: int = 200
) -> Path:
    """Write the page to `out`, complete or not at all, and return its path.

    With more than `max_problems` stored problems (or more than `MAX_CELLS` cells) a fixed sample,
    half of it correct where possible, stands for them, and the page says so. Raises SettingError
    for a branch run or one without steps, OSError if the folder is missing or the disk full.
    """
    check_has_steps(run)
    out = Path(out)
    page = page_data(run, analysis, max_problems=max_problems)
    publish(out, assemble(page).encode())
    return out


def page_data(run: Run, analysis: Analysis | None, *, max_problems: int) -> dict[str, Any]:
    """What the page shows, as plain values for JSON."""
    verdicts = np.asarray(run["verdict"][...]) if len(run) else np.zeros(0, np.uint8)
    steps, positions = size_of(run)
    limit = min(max_problems, MAX_CELLS // max(steps * positions, 1))
    rows = choose(verdicts, limit)
    problems = list(read_problems(run, rows, steps))
    coding_of = codings(problems)
    ids = _token_ids(problems)
    texts = token_texts(run, ids.tolist())
    section = branch_section(run, analysis, steps)
    packed = [pack(problem, ids, coding_of) for problem in problems]
    for problem, more in zip(packed, of_problems(run, analysis, section, rows), strict=True):
        problem |= more
    return {
        **run_facts(run, verdicts, steps, positions),
        "n_shown": len(rows),
        "blocks": block_numbers(run, steps),
        "codings": {name: coding._asdict() for name, coding in coding_of.items()},
        "tokens": texts,
        "token_bytes": 2 if len(texts) <= 1 << 16 else 4,
        "charts": list(charts(analysis, steps)) if analysis is not None else [],
        "analysed": analysis is not None,
        "ends": _words_of_steps(analysis) if analysis is not None else [],
        "stale": staleness(analysis, run) if analysis is not None else "",
        "branching": section.page,
        "problems": packed,
    }


def _words_of_steps(analysis: Analysis) -> list[str]:
    """That not all problems stand behind each step, and how the page draws that."""
    return [*ends_in_words(analysis, IN_PAGE), *blocks_in_words(analysis)]


def _token_ids(problems: list[dict[str, Any]]) -> np.ndarray:
    """The ids of all tokens that are shown, each once, in order."""
    shown = [problem["shown"].ravel() for problem in problems]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *shown]))


def assemble(page: dict[str, Any]) -> str:
    """The HTML text: template, style and script of `assets/`, and `page` as a data block that no
    text can leave."""
    style = _asset(STYLE)
    script = "".join(_asset(name) for name in SCRIPTS)
    parts = {
        "title": html.escape(str(page["run"])),
        "style": style,
        "script": script,
        "style_hash": _content_hash(style),
        "script_hash": _content_hash(script),
        "data": embed(page),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset(TEMPLATE))


def embed(value: Any) -> str:
    """JSON that is safe inside a script element: ASCII only, and no character that HTML gives a
    meaning."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text("utf-8")


def _content_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
