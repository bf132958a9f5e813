"""The summary's lines on what was analysed: problems, verdicts, accuracy, and what an unfinished
run says of the whole.

Reads only an `Analysis`.
"""

from __future__ import annotations

from ..info import Info
from ..results import Analysis


def dataset_lines(analysis: Analysis) -> list[str]:
    """Model, data, counts and accuracy."""
    info = analysis.info
    lines = [
        f"model {info['model']}; data {info['data'] or 'not recorded'}",
        f"{info['n_problems']} problems; {info['steps']} steps, {info['gen_length']} positions, "
        f"blocks of {info['block_length']}",
        f"{info['n_correct']} correct, {info['n_wrong']} wrong, {info['n_unextracted']} without "
        "an extracted answer, "
        f"{info['n_no_gold']} without a gold answer"
        + (
            f", {info['n_ambiguous']} with a number that can be read two ways"
            if info.get("n_ambiguous")
            else ""
        ),
    ]
    if info.get("unfinished"):
        lines.insert(
            1, f"{info['unfinished']}; all ids: `diffengine inspect RUN --json`, missing_ids"
        )
    lines += plugin_lines(info)
    accuracy = analysis["accuracy"]
    (low, high) = info["accuracy_interval"]
    if not accuracy.ok:
        return [*lines, f"accuracy {accuracy.status}"]
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f} %, Wilson, n = {accuracy.n}"
    return [*lines, f"accuracy {100 * float(accuracy.values):.1f} % ({interval}){whole_text(info)}"]


def plugin_lines(info: Info) -> list[str]:
    """Code that is not ours and took part, one line each."""
    lines = []
    for plugin in info.get("plugins", []):
        source = plugin["package"] or plugin["target"]
        lines.append(f"{plugin['kind']} {plugin['name']} of {source} {plugin['version']}")
    return lines


def mark_of(analysis: Analysis) -> str:
    """What stands behind every line about an unfinished run; empty for a finished one."""
    missing = len(analysis.info.get("missing", []))
    return (
        f"  [unfinished: {missing} of {analysis.info['n_asked']} problems missing]"
        if missing
        else ""
    )


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
