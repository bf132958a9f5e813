"""The summary's sections on what was analysed: problems, verdicts, accuracy, how answers were
graded, and what an unfinished run says of the whole."""

from __future__ import annotations

import numpy as np

from ...engine.store.counts import count_text
from ..info import Info
from ..results import Analysis, Quantity
from ..samples.finding import NAMES, PASS
from ..shares import percent, share_of
from ..wording import blocks_text, n_text, value_text
from .values import blocks_in_words, ends_in_words, steps_text

SHIFTED = (
    "shifted model: what is said of a position (distribution, entropy, KL, CKA, state) is read one "
    "position before it, the first behind the prompt at the prompt's last token; a token that "
    "commits is the input of the next position's prediction"
)


def dataset_lines(analysis: Analysis) -> list[str]:
    """Model, data, counts and accuracy, and code that is not ours, if any took part."""
    info = analysis.info
    lines = [f"model {info['model']}; data {info['data'] or 'not recorded'}"]
    if info.get("unfinished"):
        lines.append(f"{info['unfinished']}; all ids: `diffengine inspect RUN --json`, missing_ids")
    words = [*ends_in_words(analysis), *blocks_in_words(analysis)]
    steps = steps_text(analysis)
    lines.append(
        f"{problems_text(info)}; {steps}, {count_text(info['gen_length'], 'position')}, "
        f"{blocks_text(info['block_length'])}"
    )
    if info.get("read_offset"):
        lines.append(SHIFTED)
    lines += [_verdicts(info), _accuracy(analysis), *words, *_open(analysis)]
    return lines + plugin_lines(info)


def problems_text(info: Info) -> str:
    """ "100 problems", or "100 problems, 400 samples"."""
    problems = count_text(info.get("n_problems", "–"), "problem")
    if "n_samples" not in info:
        return problems
    return f"{problems}, {count_text(info['n_samples'], 'sample')}"


def _open(analysis: Analysis) -> list[str]:
    """How many problems ended before their canvas was full."""
    masks_left = np.asarray(analysis.problems.get("masks_left", ()))
    left = masks_left[masks_left > 0]
    if not left.size:
        return []
    unit = _unit(analysis.info)
    return [
        f"{count_text(left.size, unit)} ended with masks left (median "
        f"{int(np.median(left))} of {count_text(analysis.info['gen_length'], 'position')}), which "
        "are in no text"
    ]


def _unit(info: Info) -> str:
    """What counts by verdict are of."""
    return "sample" if "n_samples" in info else "problem"


def _verdicts(info: Info) -> str:
    parts = [
        f"{info['n_correct']} correct",
        f"{info['n_wrong']} wrong",
        f"{info['n_unextracted']} without an extracted answer",
        f"{info['n_no_gold']} without a gold answer",
    ]
    if info.get("n_ambiguous"):
        parts.append(f"{info['n_ambiguous']} with a number that can be read two ways")
    return ", ".join(parts)


def _accuracy(analysis: Analysis) -> str:
    accuracy = analysis["accuracy"]
    if not accuracy.ok:
        return f"accuracy {accuracy.status}"
    low, high = analysis.info["accuracy_interval"]
    rule = "Wilson with the design effect of samples" if "n_samples" in analysis.info else "Wilson"
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %, {rule}, n = {accuracy.n}"
    percent = f"{100 * float(accuracy.values):.1f} %"
    return f"accuracy {percent} ({interval}){whole_text(analysis.info)}"


def grading_lines(analysis: Analysis) -> list[str]:
    """Which rules decided, and what lm-eval's filters say of the same texts."""
    lines = []
    rules = analysis.info.get("grade_rules", {})
    if rules:
        counts = [f"{name} {count}" for name, count in rules.items()]
        lines.append(f"rules: {', '.join(counts)}")
    lm_eval = analysis.info.get("lm_eval")
    if lm_eval:
        n = lm_eval["n"]
        filters = [
            f"{name} {lm_eval[name]} of {n} = {filter_share(analysis.info, name)}"
            for name in ("strict", "flexible")
        ]
        lines.append(f"lm-eval gsm8k filters on the same texts: {', '.join(filters)}")
    return lines or ["no generated text recorded"]


def filter_share(info: Info, name: str) -> str:
    """What one of lm-eval's filters calls right, with its interval."""
    shares = info.get("lm_eval_shares")
    if shares:
        return percent(*shares[name])
    counts = info.get("lm_eval") or {}
    return share_of(counts[name], counts["n"])


def sample_lines(analysis: Analysis) -> list[str]:
    """What several samples of a problem say together: pass@k for k = 1, 2, 4 and so on, the vote,
    and how far the answers disagree."""
    lines = []
    if PASS in analysis:
        lines += _pass_lines(analysis[PASS])
    for name in NAMES:
        if name != PASS and name in analysis:
            quantity = analysis[name]
            value = quantity.status
            if quantity.ok:
                value = f"{value_text(quantity)} ({n_text(quantity)})"
            lines.append(f"{quantity.label}: {value}")
    return lines


def _pass_lines(quantity: Quantity) -> list[str]:
    if not quantity.ok:
        return [f"pass@k: {quantity.status}"]
    most = len(quantity.values)
    shown = sorted({most, *(2**power for power in range(most.bit_length()))})
    return [f"pass@{k}: {value_text(quantity, k - 1)} ({n_text(quantity, k - 1)})" for k in shown]


def plugin_lines(info: Info) -> list[str]:
    """Code that is not ours and took part, one line each."""
    lines = []
    for plugin in info.get("plugins", []):
        source = f"of {plugin['package']} {plugin['version']}"
        if not plugin["package"]:
            source = f"from a file of no package, {plugin['version']}"
        lines.append(f"{plugin['kind']} {plugin['name']} {source}")
    return lines


def mark_of(analysis: Analysis) -> str:
    """What stands behind every line about an unfinished run; empty for a finished one."""
    missing = len(analysis.info.get("missing", []))
    if not missing:
        return ""
    asked = count_text(analysis.info["n_asked"], _unit(analysis.info))
    return f"  [unfinished: {missing} of {asked} missing]"


def whole_text(info: Info) -> str:
    """What the accuracy of an unfinished run says of the whole: an interval, or that there is
    none."""
    if not info.get("scope"):
        return ""
    interval = info.get("whole_interval")
    if interval is None:
        return f"; {info['scope']}"
    low, high = interval
    return f"; {100 * low:.1f} to {100 * high:.1f} % {info['scope']}"
