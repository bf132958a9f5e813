"""What a person sees while a run goes on: a bar with an ETA on a terminal, plain lines every so
often in a pipe.

Writes to stderr only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..store.counts import decodings_text, noun_for
from ..store.sizes import size_text

if TYPE_CHECKING:
    from ..runs.estimate import Estimate
    from ..runs.factors import Factor
    from ..runs.run import Progress

LINE_EVERY_SECONDS = 30.0


class ProgressPrinter:
    """Call it with each `Progress`; use it as a context manager so that the bar is closed."""

    def __init__(self) -> None:
        self._printed_at = 0.0
        self._printed = ""
        self._bar: Any = None
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        if self._terminal:
            self._show_bar(progress)
            return
        is_first = self._printed == ""
        is_due = time.monotonic() - self._printed_at >= LINE_EVERY_SECONDS
        if is_first or is_due or progress.missing <= 0:
            self._print_line(describe(progress))

    def _print_line(self, line: str) -> None:
        if line != self._printed:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        self._printed_at = time.monotonic()
        self._printed = line

    def _show_bar(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _new_bar(progress)
        self._bar.n = progress.done + progress.resumed + progress.failed
        if progress.done:
            self._bar.set_postfix_str(", ".join(_pace(progress)), refresh=False)
        if self._bar.n >= self._bar.total:
            self._bar.refresh()
        else:
            self._bar.update(0)


def _new_bar(progress: Progress) -> Any:
    """A bar without tqdm's own rate and ETA, which know nothing of what is begun."""
    from tqdm import tqdm

    start = progress.resumed + progress.failed
    return tqdm(
        total=progress.total,
        initial=start,
        unit=progress.unit,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        file=sys.stderr,
        dynamic_ncols=True,
        mininterval=0.2,
    )


def describe(progress: Progress) -> str:
    """One plain line: counts, rate, ETA."""
    total = decodings_text(progress.total, progress.unit, progress.problems)
    parts = [f"{progress.done + progress.resumed}/{total}"]
    if progress.resumed:
        parts.append(f"{progress.resumed} from before")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.done:
        parts += _pace(progress)
    return ", ".join(parts)


def _pace(progress: Progress) -> Iterator[str]:
    """What is right so far, the rate, and the ETA of a run that is not done."""
    yield _correct(progress)
    rate = progress.decodings_per_second
    if rate is not None:
        yield f"{rate * 3600:.0f} {noun_for('many', progress.unit)}/h"
    eta = progress.eta_seconds
    if eta is not None and progress.missing:
        yield f"ETA {duration(eta)}"


def _correct(progress: Progress) -> str:
    """A share of an unfinished run says so where it stands."""
    share = f"{progress.correct}/{progress.done} correct"
    missing = progress.missing
    return f"{share} (unfinished: {missing} missing)" if missing else share


def duration(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def estimate_lines(need: Estimate) -> Iterator[str]:
    """An estimate as a table: each need's total, then its factors, the largest first."""
    disk = bounded(size_text(need.disk_bytes), at_most=need.disk_at_most)
    yield from _need_lines(f"disk {disk}, {size_text(need.free_disk)} free", need.disk, size_text)
    yield from _need_lines(
        f"device memory {size_text(sum(f.amount for f in need.device_memory))}",
        need.device_memory,
        size_text,
    )
    yield from _need_lines(f"time {time_text(need)}", need.seconds, duration)


def time_text(need: Estimate) -> str:
    """How long a run will decode, "at most" where its problems may end before their last step."""
    seconds = need.total_seconds
    if seconds is None:
        return "nothing left to do"
    return bounded(duration(seconds), at_most=need.seconds_at_most)


def bounded(amount: str, *, at_most: bool) -> str:
    """ "at most 3 MB", or the amount alone."""
    return f"at most {amount}" if at_most else amount


def _need_lines(title: str, factors: list[Factor], form: Callable[[float], str]) -> Iterator[str]:
    yield title
    for factor in sorted(factors, key=lambda f: -f.amount):
        yield f"  {factor.name:15} {form(factor.amount):>10}  {factor.how}"
