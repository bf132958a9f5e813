"""Several samples of a problem: a run holds one `Problem` for each decoding, and all samples of one
problem share its `group_id`.

Sample 0 keeps the problem's id, and with it the noise and the trajectory of a run without samples.
Sample k has the id `p#k`; nothing is ever read back out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..options import ConfigError
from .read import Problem


def check_samples(samples: object, temperature: float) -> None:
    """Refuse a number of samples that cannot be. Raises ConfigError: below 1, or above 1 where no
    tokens are drawn."""
    if type(samples) is not int or samples < 1:
        raise ConfigError(f"samples is {samples!r}, expected a whole number from 1 on; use 1 or 4")
    if samples > 1 and not temperature > 0:
        raise ConfigError(
            f"samples is {samples} with temperature {temperature:g}, expected a temperature above "
            "0, for samples differ by the tokens that are drawn; add temperature 0.7, or use "
            "samples 1"
        )


def with_samples(problems: Sequence[Problem], samples: int) -> list[Problem]:
    """Each problem `samples` times, the samples of one beside each other.

    Raises ConfigError where the id of a sample is that of another problem.
    """
    taken = {problem.id for problem in problems}
    sampled = []
    for problem in problems:
        sampled.append(problem)
        for number in range(1, samples):
            sample = sample_of(problem, number)
            if sample.id in taken:
                raise ConfigError(
                    f"problem {sample.id!r} has the id of sample {number} of problem "
                    f"{problem.id!r}, expected ids that differ; rename it, or leave one of the two "
                    "out with --ids"
                )
            sampled.append(sample)
    return sampled


def sample_of(problem: Problem, number: int) -> Problem:
    """Sample `number` of `problem`; itself for 0."""
    if number == 0:
        return problem
    return replace(problem, id=f"{problem.id}#{number}", sample=number, group=problem.group_id)


def count_problems(problems: Iterable[Problem]) -> int:
    """How many problems of the input these are; samples of one count once."""
    return len({problem.group_id for problem in problems})


def refuse_other_sample(stored: Problem, asked: Problem) -> None:
    """Raises ConfigError where a run holds something else under the id of what is asked for."""
    if (stored.group_id, stored.sample) == (asked.group_id, asked.sample):
        return
    raise ConfigError(
        f"the run holds {_called(stored)} under the id {stored.id!r}, which is now that of "
        f"{_called(asked)}; rename the problem, or use another --out"
    )


def _called(problem: Problem) -> str:
    return f"sample {problem.sample} of problem {problem.group_id!r}"
