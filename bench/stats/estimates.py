"""A mean over observations with its 95 % t interval, and the quantiles that all tests use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.contract import Better

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bound = Literal["", "≥", "≤"]

LEVEL = 0.95
POWER = 0.80
#: Spread below this fraction of the values is rounding, not variation: a t ratio on it would mean nothing.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over observations, with the half-width of its 95 % t interval.

    ``half`` is None where there is none: below two observations, for a deterministic row (one observation by
    definition) and when every value was censored. ``bound`` is ``≥`` or ``≤`` when a censored value is in the
    mean, which is then a restricted mean. ``sd`` is over observations.
    """

    mean: float
    half: float | None
    n: int
    sd: float | None = None
    bound: Bound = ""
    deterministic: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in the interval; False when there is no interval."""
        return self.half is not None and abs(value - self.mean) <= self.half


def t_quantile(df: npt.ArrayLike, level: float = LEVEL) -> Array:
    """Two-sided quantile of Student's t: the ``t`` with ``P(|T| <= t) = level``; NaN where ``df < 1``."""
    from scipy.special import stdtrit

    df = np.asarray(df, float)
    return np.asarray(stdtrit(np.where(df >= 1, df, np.nan), 0.5 + level / 2), float)


def two_sided(t: npt.ArrayLike, df: npt.ArrayLike) -> Array:
    """Two-sided p-value of a t ratio; NaN where ``t`` or ``df`` is."""
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(df, -np.abs(np.asarray(t, float))), float)


def half_width(sd: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL) -> Array:
    """Half-width of the t interval of a mean of ``n`` observations with that ``sd``; NaN below two."""
    n = np.asarray(n, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(t_quantile(n - 1, level) * np.asarray(sd, float) / np.sqrt(n))


def split_value(raw: Any) -> tuple[float, bool]:
    """A record's metric as (number, censored): ``{"bound": x}`` is (x, True), None is (NaN, False)."""
    if raw is None:
        return math.nan, False
    if isinstance(raw, Mapping):
        return float(raw["bound"]), True
    return float(raw), False


def beyond(better: Better) -> Bound:
    """On which side of its bound a censored value lies: the worse one (a step never reached: ≥ budget)."""
    return "≤" if better == "higher" else "≥"


def estimate(values: Iterable[Any], *, better: Better = "higher", deterministic: bool = False) -> Estimate:
    """Mean of the values that are there, with its t interval; censored ones enter at their bound.

    ``values``: a record's metric each (number, None or ``{"bound": x}``); None and NaN are left out. Without
    any value the mean is NaN and ``n`` 0.
    """
    pairs = [(v, c) for v, c in map(split_value, values) if not math.isnan(v)]
    if not pairs:
        return Estimate(math.nan, None, 0, deterministic=deterministic)
    x = np.array([v for v, _ in pairs])
    bound: Bound = beyond(better) if any(c for _, c in pairs) else ""
    if deterministic or len(x) < 2:
        return Estimate(float(x.mean()), None, 1, None, bound, deterministic)
    sd = float(x.std(ddof=1))
    half = None if all(c for _, c in pairs) else float(half_width(sd, len(x)))
    return Estimate(float(x.mean()), half, len(x), sd, bound)
