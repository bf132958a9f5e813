"""Wrong answers to hold the gold one against: gold answers of other problems, as many tokens long.

The same length, so that each can stand at the gold answer's place and none is less probable for
being longer.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from ..models.loading import MaskedDiffusionModel
from ..problems.read import Problem
from ..prompts.prompt import problem_key


class Distractors:
    """The different gold answers of `problems` by their number of tokens."""

    def __init__(self, problems: Iterable[Problem], model: MaskedDiffusionModel) -> None:
        by_length: dict[int, set[tuple[int, ...]]] = defaultdict(set)
        encode = model.tokenizer.encode
        for text in {problem.answer for problem in problems}:
            if text:
                tokens = tuple(encode(text, add_special_tokens=False))
                by_length[len(tokens)].add(tokens)

        self._by_length = {}
        for length, answers in by_length.items():
            self._by_length[length] = sorted(answers)

    def draw(
        self, problem_id: str, answer: tuple[int, ...], number: int, *, seed: int = 0
    ) -> list[tuple[int, ...]]:
        """`number` different answers of the length of `answer` [tokens] that are not it; all there
        are if fewer.

        They depend on the problem's id, `seed` and the set of gold answers alone.
        """
        alike = self._by_length.get(len(answer), [])
        others = [tokens for tokens in alike if tokens != answer]

        own_seed = problem_key(problem_id) ^ seed
        generator = random.Random(own_seed)
        count = min(number, len(others))
        return generator.sample(others, count)
