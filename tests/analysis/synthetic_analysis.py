"""Made-up analyses for the tests of the pictures: S-curves with block structure, and the edge
cases. Loaded by path."""

from __future__ import annotations

import numpy as np

from diffengine.analysis.results import Analysis, Pattern, Quantity, SCurve, Spike

NAN = float("nan")
METHODS = {"answer_slot": 0.9, "softmax_sum": 6.0, "max_prob": 0.97, "mean_prob": 0.12}


def analysis(
    *,
    problems: int = 200,
    steps: int = 48,
    block_length: int = 8,
    right: float = 0.82,
    gold: bool = True,
    skip: int = 1,
) -> Analysis:
    """A run of `steps` positions; `skip` > 1 leaves all but every `skip`-th step without a forward
    pass."""
    correct = round(problems * right) if gold else 0
    performed = np.arange(steps) % skip == 0
    block = np.arange(steps) // block_length
    quantities = _curves(problems, correct, steps, block_length) | _similarities(
        problems, steps, block_length
    )
    quantities |= _emergence(problems, correct, steps, block_length)
    for name, quantity in quantities.items():
        values = (
            np.where(performed, quantity.values, NAN)
            if quantity.dims == ("step",)
            else quantity.values
        )
        if name == "cka/matrix":
            values = np.where(performed[:, None] & performed[None, :], values, NAN)
        stderr = None if quantity.stderr is None or problems < 2 else quantity.stderr
        quantities[name] = quantity._replace(values=values, stderr=stderr)
    if not gold or not problems:
        quantities |= _insufficient(quantities, steps, everything=not problems)
    graded = problems if gold else 0
    right = np.repeat([1.0, 0.0], [correct, graded - correct])
    quantities["accuracy"] = Quantity.share_of_problems(
        right, label="accuracy", missing="nothing graded"
    )
    return Analysis(
        quantities=quantities,
        spikes={
            "z": _spikes(quantities["gain/answer_slot"], block) if graded >= 10 else [],
            "2std": [],
            "basic": [],
        },
        s_curve=_s_curve(graded >= 20),
        patterns=_patterns(graded >= 20),
        info={
            "run": "example-run-2024",
            "model": "models/tiny-llada",
            "n_problems": problems,
            "n_correct": correct,
            "n_wrong": graded - correct,
            "n_unextracted": 0,
            "n_no_gold": 0 if gold else problems,
            "steps": steps,
            "gen_length": steps,
            "block_length": block_length,
            "block": block,
            "settings": {"confidence_method": "answer_slot", "spike_rule": "z"},
            "spike_status": {"z": "ok" if graded >= 10 else f"insufficient: n = {graded} < 10"},
            "data": "data/held_out.jsonl",
            "lm_eval": {"strict": correct, "flexible": correct, "n": graded},
            **_map(problems, steps),
            "warnings": [
                "3 problems were cut off: their answer stands after the last position; not correct"
            ],
        },
    )


EDGE_CASES = {
    "healthy": {},
    "one problem": {"problems": 1, "right": 1.0},
    "no problem": {"problems": 0},
    "no gold answer": {"gold": False},
    "all wrong": {"right": 0.0},
    "all correct": {"right": 1.0},
    "skipped steps": {"skip": 3},
    "one block": {"block_length": 48},
    "one step": {"steps": 1, "block_length": 1},
    "many steps": {"steps": 256, "block_length": 32},
}


def _quantity(
    values: np.ndarray, n: int, units: str, *, spread: float = 0.25, label: str = ""
) -> Quantity:
    dims = ("step",) if values.ndim == 1 else ("step", "other_step")
    counts = np.full(values.shape, n)
    return Quantity(
        values, dims, units, counts, np.full(values.shape, spread / np.sqrt(max(n, 1))), "ok", label
    )


def _rise(steps: int, block_length: int, middle: float) -> np.ndarray:
    """A logistic rise with jumps where blocks begin."""
    step = np.arange(steps)
    smooth = 1 / (1 + np.exp(-(step / max(steps - 1, 1) - middle) * 14))
    jump = 1 / (
        1 + np.exp(-((step // block_length + 1) * block_length / steps - middle - 0.08) * 14)
    )
    return 0.35 * smooth + 0.65 * jump


def _curves(problems: int, correct: int, steps: int, block_length: int) -> dict[str, Quantity]:
    rise, wrong = _rise(steps, block_length, 0.55), 0.16 * _rise(steps, block_length, 0.4)
    phase = np.arange(steps) % block_length / block_length
    share = correct / max(problems, 1)
    mean = share * rise * 0.97 + (1 - share) * wrong
    found = {}
    for method, height in METHODS.items():
        values = mean * height + (0.02 if method != "answer_slot" else 0.0)
        found[f"confidence/{method}"] = _quantity(
            values, problems, "probability", spread=0.3 * height
        )
        gain = np.diff(values, prepend=NAN)
        found[f"gain/{method}"] = _quantity(
            gain, problems, "probability per step", spread=0.12 * height
        )
    if correct:
        found["confidence_correct/answer_slot"] = _quantity(rise * 0.97, correct, "probability")
        found["entropy_correct/all"] = _quantity(4 * (1 - rise), correct, "bits")
    if correct < problems:
        found["confidence_wrong/answer_slot"] = _quantity(wrong, problems - correct, "probability")
        found["entropy_wrong/all"] = _quantity(4.4 - 3 * rise, problems - correct, "bits")
    found["entropy/all"] = _quantity(
        4.2 * (1 - rise) ** 0.7 * (1.15 - 0.3 * phase), problems, "bits", spread=0.6
    )
    found["entropy/masked"] = _quantity(4.6 - 2 * rise - 1.2 * phase, problems, "bits")
    found["entropy/committed"] = _quantity(
        np.where(np.arange(steps) > 0, 0.3 + 0.1 * phase, NAN), problems, "bits"
    )
    found["conditional_entropy/answer_slot"] = _quantity(3.1 * (1 - rise), problems, "bits")
    return found


def _similarities(problems: int, steps: int, block_length: int) -> dict[str, Quantity]:
    step = np.arange(steps)
    starts = (step % block_length == 0) & (step > 0)
    kl = 0.25 * np.exp(-step / steps * 2) + 0.9 * starts * (1 - step / steps)
    kl = np.where(step == 0, NAN, kl)
    near = np.where(
        step == 0, NAN, 0.97 - 0.25 * starts * (1 - step / steps) - 0.1 * np.exp(-step / 6)
    )
    blocks = step // block_length
    distance = np.abs(step[:, None] - step[None, :]) / steps + 0.12 * np.abs(
        blocks[:, None] - blocks[None, :]
    )
    matrix = np.exp(-1.4 * distance) - 0.05 * (distance > 1.2)
    return {
        "kl/all": _quantity(kl, problems, "bits", spread=0.3),
        "kl/masked": _quantity(kl * 1.4, problems, "bits"),
        "kl/committed": _quantity(kl * 0.2, problems, "bits"),
        "cka/consecutive": _quantity(near, problems, "1", spread=0.1),
        "cka/consecutive_masked": _quantity(near - 0.06, problems, "1"),
        "cka/consecutive_committed": _quantity(np.minimum(near + 0.03, 0.995), problems, "1"),
        "cka/to_final": _quantity(matrix[:, -1], problems, "1"),
        "cka/matrix": _quantity(matrix, problems, "1"),
    }


def _emergence(problems: int, correct: int, steps: int, block_length: int) -> dict[str, Quantity]:
    """Emergence, AUROC, exits, states and mutual information with a shape that a run could have."""
    rise = _rise(steps, block_length, 0.55)
    share = correct / max(problems, 1)
    found = {
        f"emergence/{name}": _quantity(height * rise, problems, "1")
        for name, height in (
            ("first_hit", min(share + 0.05, 1)),
            ("stable_hit", share),
            ("settled", 1.0),
        )
    }
    few = (
        "ok"
        if 20 <= correct <= problems - 20
        else "insufficient: 0 problems in the smaller class (at least 20)"
    )
    signals = (
        "answer_confidence",
        "answer_margin",
        "answer_entropy",
        "canvas_entropy",
        "canvas_kl",
    )
    for index, name in enumerate(signals):
        found[f"auroc/{name}"] = _quantity(
            0.5 + (0.4 - 0.06 * index) * rise, problems, "1"
        )._replace(status=few)
    for index, rule in enumerate(
        ("prophet_slot", "confidence_slot", "confidence_canvas", "klass_slot", "hindsight")
    ):
        for part, value in (
            ("accuracy", share - 0.05 + 0.01 * index),
            ("steps", steps * (0.3 + 0.1 * index)),
        ):
            found[f"early_exit/{rule}/{part}"] = _single(value, problems)
    found["emergence/ever_pass"] = _single(min(share + 0.05, 1), problems)
    found["emergence/stable_hit_by_50"] = _single(share / 3, problems)
    for kind in ("rsa", "procrustes", "cka_states"):
        for state in ("answer", "masked"):
            found[f"{kind}/{state}_to_final"] = _quantity(0.1 + 0.9 * rise, problems, "1")
    for index, name in enumerate(
        ("ross", "binning", "gcmi", "ross_summary", "decoder", "ross_oof", "ksg1")
    ):
        found[f"mi/{name}"] = _quantity(
            (0.35 - 0.03 * index) * rise - 0.01, problems, "bits"
        )._replace(status=few)
        found[f"mi_p/{name}"] = _quantity(
            np.where(rise > 0.1 * index, 0.005, 0.6), problems, "1"
        )._replace(status=few)
    late = np.where(np.arange(steps) > steps * 0.6, 0.05 * rise, 0.0)
    found["mi_beyond/logistic"] = _quantity(late, problems, "bits")._replace(status=few)
    found["mi_beyond_p/logistic"] = _quantity(
        np.where(late > 0, 0.01, 1.0), problems, "1"
    )._replace(status=few)
    for name, height in (("pvi", 5.0), ("pvi_correct", 6.0), ("pvi_wrong", -4.0)):
        found[f"{name}/gold_answer"] = _quantity(1 + height * rise, problems, "bits")
    return found


def _single(value: float, n: int) -> Quantity:
    status = "ok" if n else "insufficient: no problem has a value"
    return Quantity(np.asarray(value), (), "1", n, np.asarray(0.3 / np.sqrt(max(n, 1))), status, "")


def _map(problems: int, steps: int) -> dict[str, object]:
    """The t-SNE map of `problems`, capped as a real one is: a drift over steps with scatter."""
    chosen = min(problems, 2400 // steps)
    if not chosen:
        return {"tsne": {"status": "insufficient: 0 rows with a recorded state (at least 100)"}}
    problem, step = (index.ravel() for index in np.indices((chosen, steps)))
    scatter = np.random.default_rng(0).normal(size=(len(step), 2)) * 6
    points = scatter + np.stack([step / steps * 40, 12 * np.sin(step / steps * 5)], axis=1)
    centroid = np.array([points[step == one].mean(axis=0) for one in range(steps)])
    facts = {"status": "ok", "kept": 0.71, "chance": 0.004, "perplexity": 30.0, "state": "state_answer",
             "tool": "openTSNE"}  # fmt: skip
    return {
        "tsne": facts,
        "tsne_points": points,
        "tsne_step": step,
        "tsne_problem": problem,
        "tsne_centroid": centroid,
    }


def _insufficient(
    quantities: dict[str, Quantity], steps: int, *, everything: bool
) -> dict[str, Quantity]:
    gold = ("confidence", "gain", "emergence", "auroc", "early_exit", "mi", "pvi")
    reason = (
        "insufficient: no problem was stored"
        if everything
        else "insufficient: no problem has a gold answer"
    )
    return {
        name: quantity._replace(
            values=np.full(quantity.values.shape, NAN), status=reason, stderr=None
        )
        for name, quantity in quantities.items()
        if everything or name.startswith(gold)
    }


def _spikes(gain: Quantity, block: np.ndarray) -> list[Spike]:
    largest = np.argsort(-np.nan_to_num(gain.values, nan=-1.0))[:5]
    return [
        Spike(
            int(step),
            float(gain.values[step]),
            0.01,
            5.0,
            0.2,
            0.2 + float(gain.values[step]),
            bool(step and block[step] != block[step - 1]),
        )
        for step in sorted(largest)
        if gain.values[step] > 0.02
    ]


def _s_curve(known: bool) -> SCurve:
    if not known:
        return SCurve(
            0.1,
            0.8,
            None,
            None,
            None,
            NAN,
            NAN,
            None,
            NAN,
            NAN,
            NAN,
            NAN,
            "insufficient",
            "1 problem (at least 20)",
        )
    return SCurve(
        0.1,
        0.8,
        12,
        37,
        25,
        0.81,
        0.81,
        "logistic",
        26.4,
        15.2,
        0.83,
        31.0,
        "s-curve",
        "gate p = 0.005, delta AICc = 31.0",
        0.6,
        0.02,
        0.005,
    )


def _patterns(known: bool) -> list[Pattern]:
    verdict = "seen" if known else "no verdict: needs at least 20 graded problems"
    other = "not seen" if known else verdict
    return [
        Pattern(
            "clear S-curve in the confidence",
            "logistic beats every other shape by 31.0 AICc",
            verdict,
        ),
        Pattern(
            "2-5 major information spikes",
            "5 steps stand out, 4 of them where a block begins",
            verdict,
        ),
        Pattern(
            "entropy decreases",
            "4.2 → 0.3 bits, paired difference −3.9 ± 0.1 bits over all problems",
            verdict,
        ),
        Pattern(
            "CKA similarity increases",
            "0.87 → 0.97 between consecutive steps; the first and last tenth differ by 9 SE",
            verdict,
        ),
        Pattern(
            "KL spikes align with information spikes",
            "4 of 5 within one step; 1.2 expected by chance, p = 0.004",
            verdict,
        ),
        Pattern("flat confidence trajectory", "rises by 0.79 ± 0.02", other, "problematic"),
        Pattern("no clear information spikes", "5 steps stand out", other, "problematic"),
        Pattern("entropy increases", "it falls", other, "problematic"),
        Pattern(
            "random spike pattern",
            "problems agree about the step of their largest gain (p = 0.001)",
            other,
            "problematic",
        ),
    ]
