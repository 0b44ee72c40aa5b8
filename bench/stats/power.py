"""What a contrast could have detected, and how many seeds would decide it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.stats.contrasts import contrast, merged, satterthwaite, sources
from bench.stats.estimates import LEVEL, POWER, t_quantile
from bench.stats.rows import RowMean, Source

_MAX_SEEDS = 1000


def noncentrality(df: float, level: float = LEVEL, power: float = POWER) -> float:
    """Mean of the t ratio at which a two-sided test has that power (the far tail is neglected)."""
    from scipy.special import nctdtrinc

    df = min(df, 1e6)
    return float(nctdtrinc(df, 1 - power, float(t_quantile(df, level))))


def detectable(se: float, df: float, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest true difference that a test with this standard error finds with that power.

    ``level``: of the one test, 1 - .05 / m for the first step of Holm's correction of m claims.
    """
    return noncentrality(df, level, power) * se


@dataclass(frozen=True, slots=True)
class Needed:
    """Seeds a row and data set that would show a difference with 80 % power, if the one seen is the true one.

    ``seeds`` is None where no number would, or more than 1,000; ``why`` says so.
    """

    seeds: int | None
    why: str = ""


def seeds_needed(
    parts: Sequence[tuple[float, RowMean]], *, power: float = POWER, level: float = LEVEL
) -> Needed:
    """How many seeds would decide a contrast, given as in `bench.stats.contrast`.

    The same examples are supposed: where their share of the variance is too large, no number of seeds
    decides.
    """
    c = contrast(parts)
    if c.se is None:
        return Needed(None, c.why)
    if c.diff == 0:
        return Needed(None, "no difference seen")
    found = sources(merged(parts))
    by_example = parts[0][1].clusters is not None
    fixed, seeded = (found[:1], found[1:]) if by_example else ([], found)
    if fixed and abs(c.diff) < detectable(math.sqrt(fixed[0].variance), fixed[0].df, power, level):
        return Needed(None, "no number of seeds: it takes more test examples")
    for n in range(2, _MAX_SEEDS + 1):
        var, df = satterthwaite([*fixed, *(_with_seeds(s, n) for s in seeded)])
        if abs(c.diff) >= detectable(math.sqrt(var), df, power, level):
            return Needed(n)
    return Needed(None, f"more than {_MAX_SEEDS:,} seeds")


def _with_seeds(s: Source, n: int) -> Source:
    """The same source, were there ``n`` seeds."""
    factor = (s.df + 1) / n
    return Source(s.variance * factor, n - 1, None if s.total is None else s.total * factor)
