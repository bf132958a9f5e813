"""The tables of an analysis: what can be named, and where it is. `diffengine list` prints them.

A row is `name -> "module:object"`; nothing is imported until its row is asked for. Adding one of
ours is one file and one row; installed packages add metrics through entry points.
"""

from __future__ import annotations

from ..engine.registry import Registry

METRICS = Registry(
    "metric",
    {
        "confidence/answer_slot": "diffengine.analysis.metrics.confidence:ANSWER_SLOT",
        "confidence/answer_slot_per_token": "diffengine.analysis.metrics.confidence:PER_TOKEN",
        "confidence/softmax_sum": "diffengine.analysis.metrics.confidence:SOFTMAX_SUM",
        "confidence/max_prob": "diffengine.analysis.metrics.confidence:MAX_PROB",
        "confidence/mean_prob": "diffengine.analysis.metrics.confidence:MEAN_PROB",
        "pvi/gold_answer": "diffengine.analysis.metrics.pvi:GOLD_ANSWER",
        "entropy/all": "diffengine.analysis.metrics.entropy:OVER_ALL",
        "entropy/masked": "diffengine.analysis.metrics.entropy:OVER_MASKED",
        "entropy/committed": "diffengine.analysis.metrics.entropy:OVER_COMMITTED",
        "conditional_entropy/answer_slot": "diffengine.analysis.metrics.entropy:AT_ANSWER",
        "kl/all": "diffengine.analysis.metrics.kl:OVER_ALL",
        "kl/masked": "diffengine.analysis.metrics.kl:OVER_MASKED",
        "kl/committed": "diffengine.analysis.metrics.kl:OVER_COMMITTED",
        "kl/just_committed": "diffengine.analysis.metrics.kl:OVER_JUST_COMMITTED",
        "cka/consecutive": "diffengine.analysis.metrics.cka:CONSECUTIVE",
        "cka/consecutive_masked": "diffengine.analysis.metrics.cka:CONSECUTIVE_MASKED",
        "cka/consecutive_committed": "diffengine.analysis.metrics.cka:CONSECUTIVE_COMMITTED",
        "cka/to_final": "diffengine.analysis.metrics.cka:TO_FINAL",
        "emergence/hit": "diffengine.analysis.metrics.emergence:HIT",
        "emergence/first_hit": "diffengine.analysis.metrics.emergence:FIRST_HIT",
        "emergence/stable_hit": "diffengine.analysis.metrics.emergence:STABLE_HIT",
        "emergence/final_guess": "diffengine.analysis.metrics.emergence:FINAL_GUESS",
        "emergence/settled": "diffengine.analysis.metrics.emergence:SETTLED",
        "answer/confidence": "diffengine.analysis.metrics.answer:CONFIDENCE",
        "answer/lowest_confidence": "diffengine.analysis.metrics.answer:LOWEST_CONFIDENCE",
        "answer/margin": "diffengine.analysis.metrics.answer:MARGIN",
        "answer/largest_kl": "diffengine.analysis.metrics.answer:LARGEST_KL",
        "canvas/lowest_confidence": "diffengine.analysis.metrics.answer:CANVAS_LOWEST_CONFIDENCE",
    },
    group="diffengine.metrics",
)
"""Values for each problem and step; each object is a `Metric`."""

FINDINGS = Registry(
    "finding",
    {
        "accuracy": "diffengine.analysis.findings.accuracy:FINDING",
        "samples": "diffengine.analysis.samples.finding:FINDING",
        "ends": "diffengine.analysis.findings.ends:FINDING",
        "by verdict": "diffengine.analysis.findings.by_verdict:FINDING",
        "gain": "diffengine.analysis.findings.gain:FINDING",
        "emergence": "diffengine.analysis.findings.emergence:FINDING",
        "auroc": "diffengine.analysis.findings.auroc:FINDING",
        "early exit": "diffengine.analysis.findings.early_exit:FINDING",
        "similarity of states": "diffengine.analysis.states.similarity:FINDING",
        "CKA of subsets": "diffengine.analysis.states.cka_subsets:FINDING",
        "CKA of all steps": "diffengine.analysis.findings.cka_matrix:FINDING",
        "S-curve": "diffengine.analysis.findings.s_curve:FINDING",
        "averaged logits": "diffengine.analysis.states.averaged:FINDING",
        "answer information": "diffengine.analysis.branching.finding:FINDING",
    },
)
"""Quantities of a whole run, made from the metrics or from the states, in the order in which an
analysis holds them; each object is a `Finding`."""

SPIKE_RULES = Registry(
    "spike rule",
    {
        "z": "diffengine.analysis.findings.spikes:significant",
        "2std": "diffengine.analysis.findings.spikes:two_std",
        "basic": "diffengine.analysis.findings.spikes:above_threshold",
    },
)

CURVE_MODELS = Registry(
    "curve model",
    {
        "constant": "diffengine.analysis.findings.curve_models:constant",
        "line": "diffengine.analysis.findings.curve_models:line",
        "quadratic": "diffengine.analysis.findings.curve_models:quadratic",
        "step": "diffengine.analysis.findings.curve_models:step",
        "saturating": "diffengine.analysis.findings.curve_models:saturating",
        "logistic": "diffengine.analysis.findings.curve_models:logistic",
    },
)

EXIT_RULES = Registry(
    "early-exit rule",
    {
        "prophet_slot": "diffengine.analysis.findings.early_exit:prophet_slot",
        "confidence_slot": "diffengine.analysis.findings.early_exit:confidence_slot",
        "confidence_canvas": "diffengine.analysis.findings.early_exit:confidence_canvas",
        "klass_slot": "diffengine.analysis.findings.early_exit:klass_slot",
        "hindsight": "diffengine.analysis.findings.early_exit:hindsight",
    },
)


def confidence_methods() -> list[str]:
    """Names of the confidence methods, the default first."""
    prefix = "confidence/"
    return [name.removeprefix(prefix) for name in METRICS if name.startswith(prefix)]
