"""Threads over the steps of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...engine.optional_parts import optional_part

MOST_WORKERS = 4


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads over steps, each with one BLAS thread: matrices this small are slower with more, ten
    times on busy cores.

    Without threadpoolctl, which comes with scikit-learn, BLAS keeps its threads and the results are
    the same.
    """
    limit: AbstractContextManager[Any] = nullcontext()
    controls = optional_part("threadpoolctl", instead="BLAS keeps its threads").module
    if controls is not None:
        limit = controls.threadpool_limits(1, user_api="blas")
    number = min(MOST_WORKERS, os.cpu_count() or 1)
    with limit, ThreadPoolExecutor(number) as pool:
        yield pool
