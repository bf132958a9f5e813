"""report.html: one file that shows a run problem by problem, offline, with a step slider over the
tokens.

Reads a run and, if there is one, its analysis; needs neither weights nor tokenizer (`tokens.json`
in the run directory, else ids). Everything that came from problems or models travels as JSON in a
data block and reaches the page as text only; the page's own script and style are the only ones its
content policy lets run. S steps, P positions.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...engine.store.drawing import coverage
from ...engine.store.read.tokens import run_tokens
from ...engine.store.write.results import publish
from ..findings.about_run import whole_interval
from ..findings.accuracy import CORRECT, count
from ..metrics.block import digit_ids, read_block
from ..metrics.confidence import answer_slot
from ..provenance import staleness
from ..results import Analysis
from ..shares import wilson
from .report_curves import charts, rounded

if TYPE_CHECKING:
    from ...engine.store import Run

MAX_CELLS = 6_000_000
"""Steps x positions x problems that a page may hold, at about 8 bytes each."""

ROWS_AT_ONCE = 16
NO_VALUE = 255
VERDICTS = ("wrong", "correct", "unextracted", "ungraded", "ambiguous")

_VALUES = (
    "token",
    "prediction",
    "committed",
    "performed",
    "logprob",
    "entropy",
    "kl",
    "answer_logprob",
    "answer_token_id",
)
_TOPK = ("topk_id", "topk_logit", "logsumexp")
_FIELDS = (
    "generated_text",
    "extracted_answer",
    "grade_rule",
    "verdict",
    "answer_start",
    "answer_end",
    "n_forwards",
    "seconds",
)


class Coding(NamedTuple):
    """How values become bytes: value = scale * (byte / 254) ** power; 255 is no value."""

    scale: float
    power: int
    unit: str

    def encode(self, values: np.ndarray) -> str:
        """`values` in 0..scale as base64 of uint8, rounded; what lies outside is drawn at the
        nearest end."""
        share = np.clip(
            np.nan_to_num(values, nan=0.0, posinf=self.scale) / self.scale, 0.0, 1.0
        ) ** (1 / self.power)
        return _base64(np.where(np.isnan(values), NO_VALUE, np.rint(254 * share)).astype(np.uint8))


def write_report(
    run: Run,
    analysis: Analysis | None,
    out: str | Path,
    *,
    max_problems: int = 200,
    decode_token: Callable[[int], str] | None = None,
) -> Path:
    """Write the page to `out`, complete or not at all, and return its path.

    With more than `max_problems` stored problems (or more than `MAX_CELLS` cells) a fixed sample,
    half of it correct where possible, stands for them, and the page says so. Raises OSError if the
    folder is missing or the disk full.
    """
    out = Path(out)
    publish(
        out,
        assemble(
            page_data(run, analysis, max_problems=max_problems, decode_token=decode_token)
        ).encode(),
    )
    return out


def page_data(
    run: Run,
    analysis: Analysis | None,
    *,
    max_problems: int,
    decode_token: Callable[[int], str] | None = None,
) -> dict[str, Any]:
    """What the page shows, as plain values for JSON."""
    verdicts = np.asarray(run["verdict"][...]) if len(run) else np.zeros(0, np.uint8)
    config = run.info.get("config", {})
    steps, positions = (
        run["token"].shape[1:]
        if len(run)
        else (config.get("steps", 0), config.get("gen_length", 0))
    )
    rows = choose(verdicts, min(max_problems, MAX_CELLS // max(steps * positions, 1)))
    problems = [problem for part in _batched(rows) for problem in _read(run, part)]
    codings = _codings(problems)
    ids = np.unique(
        np.concatenate([np.zeros(0, np.int64), *(problem["shown"].ravel() for problem in problems)])
    )
    texts = token_texts(run, ids.tolist(), decode_token)
    return {
        **_facts(run, verdicts, steps, positions),
        "n_shown": len(rows),
        "blocks": _blocks(run, steps),
        "codings": {name: coding._asdict() for name, coding in codings.items()},
        "tokens": texts,
        "token_bytes": 2 if len(texts) <= 1 << 16 else 4,
        "charts": list(charts(analysis)) if analysis is not None else [],
        "analysed": analysis is not None,
        "stale": staleness(analysis, run) if analysis is not None else "",
        "problems": [_pack(problem, ids, codings) for problem in problems],
    }


def choose(verdicts: np.ndarray, limit: int) -> list[int]:
    """At most `limit` rows in run order: all, or half correct and half not where there are, evenly
    spaced in each."""
    if len(verdicts) <= limit:
        return list(range(len(verdicts)))
    groups = [np.flatnonzero(verdicts == CORRECT), np.flatnonzero(verdicts != CORRECT)]
    correct = min(len(groups[0]), max(limit // 2, limit - len(groups[1])))
    takes = (correct, limit - correct)
    chosen = [
        group[np.arange(take) * len(group) // take]
        for group, take in zip(groups, takes, strict=True)
        if take > 0
    ]
    return sorted(np.concatenate(chosen).tolist()) if chosen else []


def token_texts(run: Run, ids: list[int], decode_token: Callable[[int], str] | None) -> list[str]:
    """The text of each token id: from `decode_token`, else the run's tokens.json, else the id
    itself."""
    if decode_token is not None:
        return ["" if token < 0 else decode_token(token) for token in ids]
    known = run_tokens(Path(run.path))
    return ["" if token < 0 else str(known.get(str(token), f"#{token}")) for token in ids]


def assemble(page: dict[str, Any]) -> str:
    """The HTML text: template, style and script of `assets/`, and `page` as a data block that no
    text can leave."""
    texts = {
        name: (resources.files(__package__) / "assets" / name).read_text("utf-8")
        for name in ("report.html", "report.css", "report_charts.js", "report.js")
    }
    script = texts["report_charts.js"] + texts["report.js"]
    parts = {
        "title": html.escape(str(page["run"])),
        "style": texts["report.css"],
        "script": script,
        "style_hash": _content_hash(texts["report.css"]),
        "script_hash": _content_hash(script),
        "data": embed(page),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], texts["report.html"])


def embed(value: Any) -> str:
    """JSON that is safe inside a script element: ASCII only, and no character that HTML gives a
    meaning."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _facts(run: Run, verdicts: np.ndarray, steps: int, positions: int) -> dict[str, Any]:
    counts = count(verdicts)
    info = run.info
    held = coverage(run)
    whole = whole_interval(run, counts, held)
    interval = wilson(counts.correct, counts.graded)
    model = info.get("model", {})
    settings = {name: value for name, value in info.get("config", {}).items() if name != "model"}
    return {
        "run": Path(run.path).resolve().name,
        "created": str(info.get("created_at", "")),
        "model": Path(str(model.get("path", "unknown model"))).name,
        "architecture": str(model.get("architecture", "")),
        "source": Path(str(info.get("data", {}).get("source", ""))).name,
        "settings": [
            [name, "" if value is None else str(value)] for name, value in settings.items()
        ],
        "n_stored": len(verdicts),
        "n_missing": len(held.pending) + len(held.given_up),
        "unfinished": held.note,
        "scope": held.scope,
        "whole_interval": [round(end, 4) for end in whole] if whole else None,
        "counts": counts._asdict(),
        "graded": counts.graded,
        "interval": None
        if math.isnan(interval.low)
        else [round(interval.low, 4), round(interval.high, 4)],
        "steps": int(steps),
        "positions": int(positions),
        "block_length": int(info.get("config", {}).get("block_length") or positions or 1),
    }


def _blocks(run: Run, steps: int) -> list[int]:
    recorded = np.asarray(run["block"][...]) if "block" in run else np.zeros(0)
    return [
        int(block)
        for block in (recorded.reshape(-1, steps)[0] if recorded.size else np.zeros(steps))
    ]


def _batched(rows: list[int]) -> Iterator[list[int]]:
    yield from (rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE))


def _read(run: Run, rows: list[int]) -> Iterator[dict[str, Any]]:
    """The raw arrays and texts of some problems; `shown` is the canvas, the prediction where it is
    still masked."""
    topk = _TOPK if all(name in run for name in _TOPK) else ()
    columns = {name: np.asarray(run[name][rows]) for name in (*_VALUES, *_FIELDS, *topk)}
    gold = answer_slot(read_block(columns, digit_ids(Path(run.path))))
    masked = columns["token"] == run.info.get("model", {}).get("mask_token_id")
    known = {problem.id: problem for problem in run.problems}
    for at, row in enumerate(rows):
        problem = known[run.ids[row]]
        fields = {name: columns[name][at] for name in _FIELDS}
        yield {
            "id": problem.id,
            "question": problem.question,
            "answer": " or ".join(problem.answers[:3]) or None,
            "performed": columns["performed"][at],
            "shown": np.where(masked[at], columns["prediction"][at], columns["token"][at]).astype(
                np.int64
            ),
            "flags": (masked[at] + 2 * (columns["committed"][at] == 1)).astype(np.uint8),
            "confidence": np.exp(columns["logprob"][at].astype(np.float64)),
            "entropy": columns["entropy"][at],
            "kl": columns["kl"][at],
            "gold": gold[at],
            **fields,
        }


def _codings(problems: list[dict[str, Any]]) -> dict[str, Coding]:
    """Confidence linear; entropy and KL over the square root, where their small values keep
    apart."""
    scales = {
        "confidence": (1.0, 1, "probability"),
        "entropy": (None, 2, "bits"),
        "kl": (None, 2, "bits"),
    }
    return {
        name: Coding(scale or _largest(problems, name), power, unit)
        for name, (scale, power, unit) in scales.items()
    }


def _largest(problems: list[dict[str, Any]], name: str) -> float:
    finite = (values[np.isfinite(values)] for values in (problem[name] for problem in problems))
    return float(max((part.max() for part in finite if part.size), default=0.0)) or 1.0


def _pack(problem: dict[str, Any], ids: np.ndarray, codings: dict[str, Coding]) -> dict[str, Any]:
    wide = np.dtype("<u2" if len(ids) <= 1 << 16 else "<u4")
    texts = {
        name: str(problem[name])
        for name in ("id", "question", "generated_text", "extracted_answer", "grade_rule")
    }
    numbers = {name: int(problem[name]) for name in ("answer_start", "answer_end", "n_forwards")}
    return {
        **texts,
        **numbers,
        "answer": problem["answer"],
        "seconds": rounded(float(problem["seconds"])),
        "verdict": VERDICTS[int(problem["verdict"])],
        "performed": [int(done) for done in problem["performed"]],
        "gold": [rounded(value) for value in problem["gold"]],
        "shown": _base64(np.searchsorted(ids, problem["shown"]).astype(wide)),
        "flags": _base64(problem["flags"]),
        **{
            name: coding.encode(np.asarray(problem[name], np.float64))
            for name, coding in codings.items()
        },
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _content_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
