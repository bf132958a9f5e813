"""One measured quantity: values with unit, number of problems, uncertainty and status.

Every quantity over problems is made here, so that a mean has its standard error, a share its
interval, and a quantity without any value says why, everywhere in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .display import quantity_repr
from .groups import Groups
from .limits import OK, status_of, undefined
from .means import Mean, mean_over_problems
from .shares import share_over_problems, wilson_bounds

DIMS = ("step", "other_step")
"""The axes of values over steps; a single number has none. `k` is the axis of pass@k, from 1."""


class Quantity(NamedTuple):
    """One measured quantity. `n` is the number of problems behind it, one number or one for each
    entry of `values`.

    `dims` names the axes (`step`, `other_step`, `k`; `()` for a single number). `stderr` has the
    shape of `values` or is None where no standard error is defined, as for a share, whose 95 %
    `interval` [2, *values.shape] is given instead (lower and upper ends). `status` is "ok", or
    "insufficient: " or "undefined: " and the reason; values may be NaN.
    """

    values: np.ndarray
    dims: tuple[str, ...]
    units: str
    n: int | np.ndarray
    stderr: np.ndarray | None
    status: str
    label: str
    interval: np.ndarray | None = None

    @property
    def ok(self) -> bool:
        """Whether the values may be shown as a result."""
        return self.status == OK

    def __repr__(self) -> str:
        return quantity_repr(self)

    def insufficient(self, reason: str) -> Quantity:
        """The same values with a status that says why they are no result; itself without a
        reason."""
        return self._replace(status=status_of(reason)) if reason else self

    def undefined(self, reason: str) -> Quantity:
        """The same values with a status that says why this run has no such quantity; itself without
        a reason."""
        return self._replace(status=undefined(reason)) if reason else self

    @classmethod
    def over_problems(
        cls,
        values: np.ndarray,
        *,
        units: str,
        label: str,
        missing: str,
        groups: Groups | None = None,
    ) -> Quantity:
        """The mean over the finite `values` [row, ...] with standard error and n.

        `missing` is said where no problem has a value. `groups`: which rows are samples of one
        problem; each is one of its own without.
        """
        mean = mean_over_problems(values, groups)
        return cls.of_mean(mean, units=units, label=label, missing=missing)

    @classmethod
    def of_mean(cls, mean: Mean, *, units: str, label: str, missing: str) -> Quantity:
        """The same of a mean that was made block by block."""
        dims = DIMS[: np.ndim(mean.mean)]
        any_value = np.max(mean.n, initial=0) > 0
        return cls(
            values=np.asarray(mean.mean),
            dims=dims,
            units=units,
            n=mean.n if dims else int(mean.n),
            stderr=np.asarray(mean.stderr),
            status=status_of("" if any_value else missing),
            label=label,
        )

    @classmethod
    def share_of_problems(
        cls, values: np.ndarray, *, label: str, missing: str, groups: Groups | None = None
    ) -> Quantity:
        """The share of ones among the finite `values` [row, ...], each 0 or 1, with its interval
        and n; `groups` as in `over_problems`.

        A share has no standard error; its uncertainty is its interval.
        """
        dims = DIMS[: values.ndim - 1]
        if groups is not None and not groups.is_plain:
            return cls.of_groups(values, groups, dims=dims, label=label, missing=missing)
        finite = np.isfinite(values)
        n = finite.sum(axis=0)
        ones = np.where(finite, values, 0.0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            rate = np.where(n > 0, ones / np.maximum(n, 1), np.nan)
        any_value = n.size and n.max() > 0
        return cls(
            values=np.asarray(rate),
            dims=dims,
            units="1",
            n=n if dims else int(n),
            stderr=None,
            status=status_of("" if any_value else missing),
            label=label,
            interval=np.stack(wilson_bounds(ones, np.asarray(n, np.float64))),
        )

    @classmethod
    def of_groups(
        cls,
        values: np.ndarray,
        groups: Groups,
        *,
        dims: tuple[str, ...],
        label: str,
        missing: str,
        most: np.ndarray | None = None,
    ) -> Quantity:
        """The share of the finite `values` [row, ...], each from 0 to 1, over problems with several
        rows. `most`: as in `share_over_problems`."""
        share = share_over_problems(values, groups, most=most)
        return cls(
            values=np.asarray(share.rate),
            dims=dims,
            units="1",
            n=share.n if dims else int(share.n),
            stderr=None,
            status=status_of("" if np.max(share.n, initial=0) > 0 else missing),
            label=label,
            interval=share.bounds(),
        )
