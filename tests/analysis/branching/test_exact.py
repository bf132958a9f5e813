"""End to end with a real network: a run, its branches, its analysis; against H(A | x_t) summed over
every way in which the sampler can go on.

The checkpoint has random weights, of which only five tokens can ever be drawn, and decodes three
positions, one a step, most confident first. So there are 216 canvases, and the law of the answer
from each of them follows from the network's own probabilities.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffengine.analysis.analyze import analyze_run
from diffengine.analysis.branching.answers import NAMES
from diffengine.analysis.results import Analysis, load_analysis, save_analysis
from diffengine.analysis.show.summary import summarise
from diffengine.engine.answers.classes import answer_classes
from diffengine.engine.answers.grade import grade
from diffengine.engine.branching.branch import branch
from diffengine.engine.models.attention import packing_of
from diffengine.engine.models.loading import MaskedDiffusionModel, load_model
from diffengine.engine.problems.read import Problem, ProblemSet
from diffengine.engine.prompts.prompt import build_prompt
from diffengine.engine.runs.run import BUNDLED, run
from diffengine.engine.store import open_run

TEXTS = ("1", "2", "3", "x", " ")
"""What can be drawn. A text of these has as many answers as numbers end it, or none."""
LENGTH = 3
GOLD = "12"
PROBLEMS = [Problem(f"p{n}", f"What is {n} + {n * n}?", GOLD) for n in range(6)]
R = 160
SHAPE = {
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 4,
    "mlp_hidden_size": 48,
    "embedding_size": 560,
}
PULL = 20.0
"""The first coordinate of every embedding. It outweighs the others, so that the first column of the
head is a bias: by it all other tokens have less than e^-40 of the probability."""


def write_checkpoint(directory: Path) -> Path:
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED / name, directory / name)
    config = json.loads((BUNDLED / "config.json").read_text()) | SHAPE
    (directory / "config.json").write_text(json.dumps(config | {"weight_tying": False}))
    generator = torch.Generator().manual_seed(5)
    width, mlp, rows = SHAPE["d_model"], SHAPE["mlp_hidden_size"], SHAPE["embedding_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "wte": (rows, width),
        "ln_f": (width,),
        "ff_out": (rows, width),
    }
    square = {name: (width, width) for name in ("q_proj", "k_proj", "v_proj", "attn_out")}
    for layer in range(SHAPE["n_layers"]):
        block = {
            **square,
            "attn_norm": (width,),
            "ff_norm": (width,),
            "ff_proj": (mlp, width),
            "up_proj": (mlp, width),
            "ff_out": (width, mlp),
        }
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    tensors = {}
    for name, shape in shapes.items():
        weights = torch.randn(shape, generator=generator)
        tensors[name] = torch.ones(shape) if len(shape) == 1 else weights / shape[1] ** 0.5
    tensors["ff_out"] *= 5
    tensors["wte"][:, 0] = PULL
    tensors["ff_out"][:, 0] = -10.0
    tensors["ff_out"][allowed_ids(), 0] = 0.0
    save_file(
        {f"model.transformer.{name}.weight": tensor for name, tensor in tensors.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )
    return directory


def allowed_ids() -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert all(len(each) == 1 for each in ids)
    return [each[0] for each in ids]


Canvas = tuple[int, ...]
"""Places in TEXTS, -1 where masked."""


class Law:
    """The answers from any canvas of one problem, by the sampler's rule and the network's
    probabilities: tokens are proposed independently at all masks, from softmax(logits / T); the one
    that softmax(logits) finds most probable is committed, the first of equals."""

    def __init__(self, model: MaskedDiffusionModel, problem: Problem, temperature: float) -> None:
        prompt = build_prompt(problem, 0, model, style="chat", gen_length=LENGTH)
        ids = allowed_ids()
        canvases = list(itertools.product(range(-1, len(TEXTS)), repeat=LENGTH))
        self._logits = {}
        with torch.no_grad():
            for canvas in canvases:
                row = [model.token_ids.mask if place < 0 else ids[place] for place in canvas]
                tokens = torch.tensor([*prompt.token_ids, *row])
                packing = packing_of([len(tokens)], model.device)
                hidden = model.hidden(tokens, torch.arange(len(tokens)), packing)
                logits = (hidden[-LENGTH:] @ model.head_weight.T).double().numpy()
                logits[:, model.token_ids.mask] = -np.inf
                logits[:, model.n_candidates :] = -np.inf
                self._logits[canvas] = logits
        self._ids = ids
        self._temperature = temperature
        self._of: dict[Canvas, dict[Canvas, float]] = {}

    def finals(self, canvas: Canvas) -> dict[Canvas, float]:
        """The chance of each full canvas."""
        if canvas in self._of:
            return self._of[canvas]
        masked = [place for place, token in enumerate(canvas) if token < 0]
        chances: dict[Canvas, float] = {}
        if not masked:
            chances = {canvas: 1.0}
        else:
            drawn = softmax(self._logits[canvas] / self._temperature)[:, self._ids]
            confidence = softmax(self._logits[canvas])[:, self._ids]
            assert drawn.sum(axis=1).min() > 1 - 1e-12
            for proposal in itertools.product(range(len(TEXTS)), repeat=len(masked)):
                pairs = list(zip(masked, proposal, strict=True))
                chance = float(np.prod([drawn[pair] for pair in pairs]))
                place, token = max(pairs, key=lambda pair: (confidence[pair], -pair[0]))
                after = (*canvas[:place], token, *canvas[place + 1 :])
                for final, rest in self.finals(after).items():
                    chances[final] = chances.get(final, 0.0) + chance * rest
        self._of[canvas] = chances
        return chances

    def answers(self, canvas: Canvas) -> dict[int, float]:
        """The chance of each class of answers."""
        finals = self.finals(canvas)
        texts = ["".join(TEXTS[token] for token in final) for final in finals]
        extracted = [grade(text, GOLD).extracted for text in texts]
        labels = answer_classes(extracted, [grade(t, GOLD).verdict == "correct" for t in texts])
        chances: dict[int, float] = {}
        for label, chance in zip(labels.label.tolist(), finals.values(), strict=True):
            chances[label] = chances.get(label, 0.0) + chance
        return chances

    def entropy(self, canvas: Canvas) -> float:
        return -sum(p * np.log2(p) for p in self.answers(canvas).values() if p > 0)

    def accuracy(self, canvas: Canvas) -> float:
        right = 0.0
        for final, chance in self.finals(canvas).items():
            text = "".join(TEXTS[token] for token in final)
            right += chance * (grade(text, GOLD).verdict == "correct")
        return right


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


class Made:
    """Run, branches, and the exact law of each problem."""

    def __init__(self, folder: Path) -> None:
        self.model = load_model(write_checkpoint(folder / "model"), device="cpu")
        self.path = folder / "run"
        problems = ProblemSet(PROBLEMS, [], "0", "six")
        run(
            problems,
            out=self.path,
            model=self.model,
            policy="llada",
            steps=LENGTH,
            gen_length=LENGTH,
            block_length=LENGTH,
            temperature=1.0,
            seed=3,
            topk=4,
        )
        branch(self.path, at=range(LENGTH), samples=R, model=self.model)
        self.analysis: Analysis = analyze_run(open_run(self.path))
        self.laws = [Law(self.model, problem, 1.0) for problem in PROBLEMS]
        with open_run(self.path) as parent:
            tokens = np.asarray(parent["token"][...])
        self.canvases = [self._states(tokens[row]) for row in range(len(PROBLEMS))]

    def _states(self, token: np.ndarray) -> list[Canvas]:
        ids = allowed_ids()
        after = [tuple(ids.index(t) if t in ids else -1 for t in step) for step in token.tolist()]
        return [(-1,) * LENGTH, *after]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("exact"))


def exact(made: Made, of: str) -> np.ndarray:
    """[problem, step] of the law."""
    return np.array(
        [
            [getattr(law, of)(canvas) for canvas in states[:LENGTH]]
            for law, states in zip(made.laws, made.canvases, strict=True)
        ]
    )


def test_the_law_is_a_law_and_no_trivial_one(made: Made) -> None:
    for law, states in zip(made.laws, made.canvases, strict=True):
        for canvas in states:
            assert sum(law.finals(canvas).values()) == pytest.approx(1)
    entropy = exact(made, "entropy")
    assert entropy[:, 0].min() > 1 and (entropy[:, 0] - entropy[:, 2]).mean() > 0.5


def bounds(made: Made) -> tuple[np.ndarray, np.ndarray]:
    """[problem, step] the most that the plug-in is too low by (Paninski 2003), and the variance of
    an estimate from R draws (Basharin 1959)."""
    bias = np.zeros((len(PROBLEMS), LENGTH))
    variance = np.zeros((len(PROBLEMS), LENGTH))
    for row, law in enumerate(made.laws):
        for t in range(LENGTH):
            chances = np.array(list(law.answers(made.canvases[row][t]).values()))
            chances = chances[chances > 0]
            surprise = -np.log2(chances)
            bias[row, t] = np.log2(1 + (len(chances) - 1) / R)
            variance[row, t] = ((chances * surprise**2).sum() - (chances * surprise).sum() ** 2) / R
    return bias, variance


def test_entropy_of_every_state_is_the_networks_own(made: Made) -> None:
    """Each state by itself within its bias and four standard errors."""
    error = made.analysis.problems["answer_entropy"] - exact(made, "entropy")
    bias, variance = bounds(made)
    assert (np.abs(error) <= bias + 4 * np.sqrt(variance) + 1e-9).all()


def test_means_and_what_was_decided(made: Made) -> None:
    """Means over problems, whose errors are independent, within three standard errors and a quarter
    of the plug-in's bias, of which Miller and Madow correct the most."""
    truth = exact(made, "entropy")
    bias, variance = bounds(made)
    slack = bias.mean(axis=0) / 4
    entropy = made.analysis["answer_entropy/miller_madow"].values
    error = np.sqrt(variance.sum(axis=0)) / len(PROBLEMS)
    assert (np.abs(entropy - truth.mean(axis=0)) <= slack + 3 * error).all()

    decided = made.analysis["answer_information/miller_madow"].values
    expected = (truth[:, :1] - truth).mean(axis=0)
    error = np.hypot(error, error[0])
    assert decided[0] == 0
    assert (np.abs(decided - expected) <= 2 * slack + 3 * error).all()

    accuracy = made.analysis["branches/accuracy"].values
    right = exact(made, "accuracy")
    error = np.sqrt((right * (1 - right)).sum(axis=0) / R) / len(PROBLEMS)
    assert (np.abs(accuracy - right.mean(axis=0)) <= 3 * error + 1e-9).all()


def test_answers_are_drawn_from_the_law(made: Made) -> None:
    """Pearson's chi-square of all texts from the canvas of masks, problem by problem."""
    from scipy.stats import chi2

    with open_run(next((made.path / "branches").iterdir())) as branches:
        texts = np.asarray(branches["generated_text"][...])
        parents = np.asarray(branches["parent_id"][...])
        steps = np.asarray(branches["branch_step"][...])
    statistic = 0.0
    freedom = 0
    for row, law in enumerate(made.laws):
        expected: dict[str, float] = {}
        for final, chance in law.finals((-1,) * LENGTH).items():
            key = "".join(TEXTS[token] for token in final)
            expected[key] = expected.get(key, 0.0) + R * chance
        drawn = texts[(parents == f"p{row}") & (steps == 0)]
        assert set(drawn.tolist()) <= set(expected)
        common = [key for key in expected if expected[key] >= 4]
        rest = R - sum(expected[key] for key in common)
        cells = [(sum(drawn == key), expected[key]) for key in common]
        cells.append((R - sum(count for count, _ in cells), rest))
        statistic += sum((count - mean) ** 2 / mean for count, mean in cells if mean > 1)
        freedom += len(cells) - 1
    assert 0.001 < chi2.sf(statistic, freedom) < 0.999


def test_the_analysis_is_saved_and_said(made: Made, tmp_path: Path) -> None:
    save_analysis(made.analysis, tmp_path / "a.h5")
    again = load_analysis(tmp_path / "a.h5")
    for name in NAMES:
        np.testing.assert_array_equal(again[name].values, made.analysis[name].values)
        assert again[name].status == made.analysis[name].status
    text = summarise(again)
    assert "6 problems, R = 160, temperature 1, policy llada, at steps 0, 1, 2" in text
    assert "is the mutual information I(A; x_t) of this sampler" in text
    assert "nan" not in text.replace("cannot", "")


def test_an_analysis_made_before_the_branches_is_stale(made: Made, tmp_path: Path) -> None:
    whole = tmp_path / "run"
    shutil.copytree(made.path, whole)
    shutil.rmtree(whole / "branches")
    before = analyze_run(open_run(whole))
    assert "branching" not in before.info and not set(NAMES) & set(before.quantities)
    save_analysis(before, whole / "analysis.h5")
    assert "stale" not in load_analysis(whole / "analysis.h5").info
    shutil.copytree(made.path / "branches", whole / "branches")
    assert "other problems or shards" in load_analysis(whole / "analysis.h5").info["stale"]
    for name, quantity in before.quantities.items():
        np.testing.assert_array_equal(quantity.values, made.analysis[name].values, err_msg=name)


def names_of(warnings: Sequence[Any]) -> str:
    return " ".join(map(str, warnings))


def test_a_damaged_branch_run_costs_a_warning_and_no_analysis(made: Made, tmp_path: Path) -> None:
    whole = tmp_path / "run"
    shutil.copytree(made.path, whole)
    (folder,) = (whole / "branches").iterdir()
    shard = next((folder / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    shard.write_bytes(content[: len(content) // 2])
    analysis = analyze_run(open_run(whole))
    assert f"branch run {folder.name} is left out: " in names_of(analysis.info["warnings"])
    assert analysis.info["branching"] == {} and analysis["accuracy"].n == 6
    assert "no branches that can be read" in summarise(analysis)
