"""Every quantity, spike rule and curve model by name. `diffengine list` prints these tables; adding
one adds a line.

Functions are named "module:function" inside this package and imported only when asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .errors import SettingError


class Metric(NamedTuple):
    """A value for each problem and step: `function(Block) -> [problem, step]`, averaged over
    problems afterwards.

    `every_position`: undefined unless the run recorded all generated positions. `missing`: why
    there may be no value. `share`: every value is 0 or 1, so that the mean is a share of problems.
    """

    function: str
    units: str
    label: str
    variables: tuple[str, ...]
    missing: str
    every_position: bool = False
    share: bool = False


_GOLD = ("answer_logprob", "answer_token_id")
_GUESS = ("token", "prediction", "answer_token_id", "answer_start", "answer_end")
_SLOT = (*_GOLD, *_GUESS, "logprob")
_MODEL = ("logprob", "margin", "kl", "answer_start", "answer_end")
_NO_GOLD = "no problem has a gold answer and a recorded value"
_NO_SLOT = "no problem has both a gold answer and an extracted answer"
_NO_POSITION = "no recorded value at such positions"
_NO_ANSWER = "no problem has an extracted answer"
_ANSWER = ("entropy", "answer_start", "answer_end")

METRICS: dict[str, Metric] = {
    "confidence/answer_slot": Metric(
        "metrics.confidence:answer_slot",
        "probability",
        "probability that exactly the gold answer stands where the answer is",
        _SLOT,
        _NO_SLOT,
    ),
    "confidence/answer_slot_per_token": Metric(
        "metrics.confidence:answer_slot_per_token",
        "probability",
        "the same, geometric mean per gold token",
        _SLOT,
        _NO_SLOT,
    ),
    "confidence/softmax_sum": Metric(
        "metrics.confidence:softmax_sum",
        "tokens",
        "expected count of gold answer tokens over all positions (can exceed 1)",
        _GOLD,
        _NO_GOLD,
        every_position=True,
    ),
    "confidence/max_prob": Metric(
        "metrics.confidence:max_prob",
        "probability",
        "largest probability of any gold answer token at any position",
        _GOLD,
        _NO_GOLD,
        every_position=True,
    ),
    "confidence/mean_prob": Metric(
        "metrics.confidence:mean_prob",
        "probability",
        "mean probability of the gold answer tokens over all positions",
        _GOLD,
        _NO_GOLD,
        every_position=True,
    ),
    "pvi/gold_answer": Metric(
        "metrics.pvi:gold_answer",
        "bits",
        "pointwise V-information of the gold answer at its place: log2 p - log2 p without "
        "the question",
        (*_GOLD, "answer_start", "null_answer_logprob"),
        _NO_SLOT,
    ),
    "entropy/all": Metric(
        "metrics.entropy:over_all",
        "bits",
        "entropy, mean over all generated positions",
        ("entropy",),
        _NO_POSITION,
        every_position=True,
    ),
    "entropy/masked": Metric(
        "metrics.entropy:over_masked",
        "bits",
        "entropy, mean over masked positions",
        ("entropy",),
        _NO_POSITION,
    ),
    "entropy/committed": Metric(
        "metrics.entropy:over_committed",
        "bits",
        "entropy, mean over committed positions",
        ("entropy",),
        _NO_POSITION,
        every_position=True,
    ),
    "conditional_entropy/answer_slot": Metric(
        "metrics.entropy:at_answer",
        "bits",
        "the model's own entropy at the extracted answer, mean over its positions",
        _ANSWER,
        "no problem has an extracted answer",
    ),
    "kl/all": Metric(
        "metrics.kl:over_all",
        "bits",
        "KL(p_t || p_t-1), mean over all generated positions",
        ("kl",),
        _NO_POSITION,
        every_position=True,
    ),
    "kl/masked": Metric(
        "metrics.kl:over_masked",
        "bits",
        "KL(p_t || p_t-1), mean over positions masked at both steps",
        ("kl",),
        _NO_POSITION,
    ),
    "kl/committed": Metric(
        "metrics.kl:over_committed",
        "bits",
        "KL(p_t || p_t-1), mean over positions committed at both steps",
        ("kl",),
        _NO_POSITION,
        every_position=True,
    ),
    "kl/just_committed": Metric(
        "metrics.kl:over_just_committed",
        "bits",
        "KL(p_t || p_t-1), mean over positions committed by step t-1",
        ("kl",),
        _NO_POSITION,
        every_position=True,
    ),
    "cka/consecutive": Metric(
        "metrics.cka:consecutive",
        "1",
        "debiased CKA of the logits with the step before, all positions",
        ("cka",),
        _NO_POSITION,
        every_position=True,
    ),
    "cka/consecutive_masked": Metric(
        "metrics.cka:consecutive_masked",
        "1",
        "debiased CKA with the step before, positions masked at both",
        ("cka_masked",),
        _NO_POSITION,
    ),
    "cka/consecutive_committed": Metric(
        "metrics.cka:consecutive_committed",
        "1",
        "debiased CKA with the step before, positions committed at both",
        ("cka_committed",),
        _NO_POSITION,
        every_position=True,
    ),
    "cka/to_final": Metric(
        "metrics.cka:to_final",
        "1",
        "debiased CKA of the logits with the last step, all positions",
        ("cka",),
        _NO_POSITION,
        every_position=True,
    ),
    "emergence/hit": Metric(
        "metrics.emergence:hit",
        "1",
        "share of problems whose guess at the answer's place is the gold answer",
        _GUESS,
        "no problem has a gold answer",
        share=True,
    ),
    "emergence/first_hit": Metric(
        "metrics.emergence:first_hit",
        "1",
        "share of problems with a first hit by this step, kept or not",
        _GUESS,
        "no problem has a gold answer",
        share=True,
    ),
    "emergence/stable_hit": Metric(
        "metrics.emergence:stable_hit",
        "1",
        "share of problems whose guess is the gold answer from this step to the end",
        _GUESS,
        "no problem has a gold answer",
        share=True,
    ),
    "emergence/final_guess": Metric(
        "metrics.emergence:final_guess",
        "1",
        "share of problems whose guess is what finally stands there, right or wrong",
        _GUESS,
        _NO_ANSWER,
        share=True,
    ),
    "emergence/settled": Metric(
        "metrics.emergence:settled",
        "1",
        "share of problems whose guess stays as it is from this step to the end",
        _GUESS,
        _NO_ANSWER,
        share=True,
    ),
    "answer/confidence": Metric(
        "metrics.emergence:confidence",
        "probability",
        "joint probability of the best guess at the extracted answer",
        _MODEL,
        _NO_ANSWER,
    ),
    "answer/lowest_confidence": Metric(
        "metrics.emergence:lowest_confidence",
        "probability",
        "lowest probability of a best guess at the extracted answer",
        _MODEL,
        _NO_ANSWER,
    ),
    "answer/margin": Metric(
        "metrics.emergence:margin",
        "nats",
        "gap between largest and second logit, mean over the extracted answer",
        _MODEL,
        _NO_ANSWER,
    ),
    "answer/largest_kl": Metric(
        "metrics.emergence:largest_kl",
        "bits",
        "largest KL to the step before at the answer's masked positions",
        _MODEL,
        _NO_ANSWER,
    ),
    "canvas/lowest_confidence": Metric(
        "metrics.emergence:canvas_lowest_confidence",
        "probability",
        "lowest probability of a best guess, masked positions",
        _MODEL,
        _NO_POSITION,
    ),
}

EXIT_RULES: dict[str, str] = {
    "prophet_slot": "findings.early_exit:prophet_slot",
    "confidence_slot": "findings.early_exit:confidence_slot",
    "confidence_canvas": "findings.early_exit:confidence_canvas",
    "klass_slot": "findings.early_exit:klass_slot",
    "hindsight": "findings.early_exit:hindsight",
}

EMERGENCE = (
    "ever_pass",
    "pass_lost",
    "hits_lost",
    "guess_changes",
    "settled_step",
    "answer_commit_step",
    "commit_order",
    "commit_order_in_block",
    *(
        f"{kind}_hit_by_{percent}{which}"
        for percent in (25, 50)
        for kind in ("first", "stable")
        for which in ("", "_correct")
    ),
)

SIGNALS: dict[str, tuple[str, float]] = {
    "answer_confidence": ("answer/confidence", 1.0),
    "answer_margin": ("answer/margin", 1.0),
    "answer_entropy": ("conditional_entropy/answer_slot", -1.0),
    "canvas_entropy": ("entropy/masked", -1.0),
    "canvas_kl": ("kl/masked", -1.0),
}
"""Signal whose AUROC is computed -> the metric it is read from, and the sign that makes large mean
sure."""

SIMILARITIES = tuple(
    (kind, state) for kind in ("cka_states", "rsa", "procrustes") for state in ("masked", "answer")
)
"""Similarity of the states at two steps over problems, and the recorded state that it compares."""

DERIVED: dict[str, str] = {
    "accuracy": "findings.accuracy:accuracy",
    "cka/matrix": "means:MeanOverBlocks",
    "cka/matrix_masked": "states.cka_subsets:cka_subsets",
    "cka/matrix_committed": "states.cka_subsets:cka_subsets",
    "confidence_correct/answer_slot": "analyze:mean_by_verdict",
    "confidence_wrong/answer_slot": "analyze:mean_by_verdict",
    "entropy_correct/all": "analyze:mean_by_verdict",
    "entropy_wrong/all": "analyze:mean_by_verdict",
    "pvi_correct/gold_answer": "analyze:mean_by_verdict",
    "pvi_wrong/gold_answer": "analyze:mean_by_verdict",
    "gain/answer_slot": "findings.gain:information_gain",
    "gain/answer_slot_per_token": "findings.gain:information_gain",
    "gain/softmax_sum": "findings.gain:information_gain",
    "gain/max_prob": "findings.gain:information_gain",
    "gain/mean_prob": "findings.gain:information_gain",
    "s_curve/fit": "findings.s_curve:s_curve",
    "mi/ross": "information.over_steps:mutual_information",
    "mi_p/ross": "information.over_steps:mutual_information",
    "mi/binning": "information.over_steps:mutual_information",
    "mi_p/binning": "information.over_steps:mutual_information",
    "mi/gcmi": "information.over_steps:mutual_information",
    "mi_p/gcmi": "information.over_steps:mutual_information",
    "mi/ross_summary": "information.over_steps:mutual_information",
    "mi_p/ross_summary": "information.over_steps:mutual_information",
    "mi/decoder": "information.over_steps:mutual_information",
    "mi_p/decoder": "information.over_steps:mutual_information",
    "mi/ross_oof": "information.over_steps:mutual_information",
    "mi_p/ross_oof": "information.over_steps:mutual_information",
    "mi_size/ksg1": "information.over_steps:mutual_information",
    "mi_size_p/ksg1": "information.over_steps:mutual_information",
    "mi_beyond/logistic": "information.beyond_first_step:beyond_first_step",
    "mi_beyond_p/logistic": "information.beyond_first_step:beyond_first_step",
    "kl_averaged": "states.averaged:averaged_trajectory",
    "cka_averaged": "states.averaged:averaged_trajectory",
    **{f"emergence/{name}": "metrics.emergence:emergence_table" for name in EMERGENCE},
    **{f"auroc/{name}": "findings.auroc:auroc_trajectories" for name in SIGNALS},
    **{
        f"early_exit/{rule}/{part}": "findings.early_exit:replay"
        for rule in EXIT_RULES
        for part in ("accuracy", "accuracy_change", "steps")
    },
    **{
        f"{kind}/{state}_{which}": f"states.similarity:{kind}"
        for kind, state in SIMILARITIES
        for which in ("matrix", "consecutive", "to_final")
        if (kind, which) != ("procrustes", "matrix")
    },
}
"""Quantities that are made from the metrics above, or from sums over the run."""

OPTIONAL = frozenset(
    {"kl_averaged", "cka_averaged"} | {name for name in DERIVED if name.startswith("mi")}
)
"""Quantities that are there only when asked for and recorded."""

SPIKE_RULES: dict[str, str] = {
    "z": "findings.spikes:significant",
    "2std": "findings.spikes:two_std",
    "basic": "findings.spikes:above_threshold",
}

CURVE_MODELS: dict[str, str] = {
    "constant": "findings.curve_models:constant",
    "line": "findings.curve_models:line",
    "quadratic": "findings.curve_models:quadratic",
    "step": "findings.curve_models:step",
    "saturating": "findings.curve_models:saturating",
    "logistic": "findings.curve_models:logistic",
}

ESTIMATORS: dict[str, str] = {
    "ross": "information.ross:ross",
    "ksg1": "information.ksg1:ksg1",
    "ksg2": "information.ksg2:ksg2",
    "gao": "information.gao:gao",
    "binning": "information.binning:binning",
    "gcmi": "information.gcmi:gcmi",
    "decoder": "information.decoder:decoder",
    "ross_oof": "information.ross_oof:ross_oof",
    "pvi": "information.v_information:pvi",
}
"""Estimators of mutual information, behind `information.estimate`."""


def confidence_methods() -> list[str]:
    """Names of the confidence methods, the default first."""
    return [name.partition("/")[2] for name in METRICS if name.startswith("confidence/")]


def find(table: Mapping[str, Any], name: str, *, kind: str) -> Any:
    """`table[name]`; ValueError that lists the names and guesses what was meant. `kind`: "spike
    rule" and the like."""
    if name in table:
        return table[name]
    raise SettingError(f"unknown {kind} {name!r}{_guess(name, table)}; known: {', '.join(table)}")


def resolve(function: str) -> Callable[..., Any]:
    """The function behind "module:function"."""
    module, _, attribute = function.partition(":")
    return getattr(importlib.import_module(f".{module}", __package__), attribute)


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
