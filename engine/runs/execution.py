"""How a run is executed, on what and in which portions; nothing in here changes a result beyond the
stated rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..config import ConfigError, RunConfig

TOKEN_BUDGET = {"cpu": 2048, "cuda": 16384}
SHARD_PROBLEMS = 64


class Limits(NamedTuple):
    """When a shard is full or old: problems, bytes before compression, seconds."""

    problems: int
    bytes: int
    seconds: float

    def reached(self, *, problems: int, size: int, age: float) -> bool:
        """Whether `problems` problems of `size` bytes that began to gather `age` seconds ago fill a
        shard."""
        return problems >= self.problems or size >= self.bytes or age > self.seconds

    def problems_per_shard(self, problem_bytes: float) -> float:
        """How many problems a shard gets where they come fast enough never to be old."""
        return max(1.0, min(float(self.problems), self.bytes / problem_bytes))


@dataclass(frozen=True)
class Execution:
    """Devices, workers and portions.

    More than one of `workers`, or the address of a `cluster`, means Ray; each worker has a device
    of its own. `cache`: of a model that attends block by block keep the keys and values that do not
    change any more, which changes nothing beyond rounding.
    """

    device: str | None = None
    workers: int = 1
    cluster: str | None = None
    token_budget: int | None = None
    refill: bool = True
    cache: bool = True
    compile: bool = False
    fused: bool = False
    shard_problems: int | None = None
    shard_bytes: int = 128 << 20
    flush_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.compile and self.fused:
            raise ConfigError("--compile and --fused replace the same layers; give one of them")

    @property
    def distributed(self) -> bool:
        return self.workers > 1 or self.cluster is not None

    @property
    def limits(self) -> Limits:
        return Limits(self.shard_problems or SHARD_PROBLEMS, self.shard_bytes, self.flush_seconds)

    @property
    def on_gpu(self) -> bool:
        return self.device is not None and self.device.startswith("cuda")


def token_budget(device_type: str, config: RunConfig, execution: Execution) -> int:
    """Packed tokens of one forward pass that problems may fill; guidance sends every row through
    twice."""
    budget = execution.token_budget or TOKEN_BUDGET.get(device_type, TOKEN_BUDGET["cpu"])
    return budget // 2 if config.guided else budget
