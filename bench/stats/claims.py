"""Claims: contrasts that a track declares beforehand, judged against 0 and against the paper's figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.contract import Better
from bench.stats.contrasts import Contrast
from bench.stats.estimates import LEVEL, ROUNDING, t_quantile, two_sided
from bench.stats.families import holm

Verdict = Literal["shown", "shown, smaller than the paper's", "not shown", "opposite", "not judged"]
#: Our difference beside the paper's figure: excluded at 5 % from below or above, or neither.
Beside = Literal["", "smaller than the paper's", "compatible with the paper's", "larger than the paper's"]

#: Independent tasks that a statement about other tasks needs at least.
TASKS = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim's verdict.

    ``p``: against 0, after Holm's correction over the claims. ``beside``: where our difference lies with
    regard to the paper's figure, and ``p_paper`` the corrected p of its being that figure; "" and None
    without a figure.
    """

    verdict: Verdict
    p: float | None
    beside: Beside = ""
    p_paper: float | None = None


def joint_p(contrasts: Sequence[Contrast]) -> float | None:
    """p of a claim against all of its counterparts: that it holds against each (intersection-union test).

    The largest of the single p-values, without correction among them; 1 if differences point to different
    sides; None if one was not judged.
    """
    p = [c.p for c in contrasts]
    if any(x is None for x in p):
        return None
    if len({math.copysign(1, c.diff) for c in contrasts if c.diff != 0}) > 1:
        return 1.0
    return max(x for x in p if x is not None)


def verdict(
    contrasts: Contrast | Sequence[Contrast],
    p: float | None,
    *,
    better: Better,
    paper: float | None = None,
    p_paper: float | None = None,
) -> Judged:
    """The verdict on one claim.

    ``shown``: better than every counterpart. ``shown, smaller than the paper's``: that, while the paper's
    figure is excluded and larger. ``opposite``: worse than every counterpart. The paper's figure is about the
    first counterpart.

    Args:
        contrasts: the rows minus their counterparts; several for a claim with further counterparts.
        p: `joint_p` after Holm's correction over the claims; None if it was not judged.
        better: direction of the metric; for the logarithm of a ratio that of the ratio.
        paper: the paper's figure, in the scale of the contrasts.
        p_paper: p of ``Contrast.against(paper)`` of the first contrast, corrected in the same way.
    """
    several = [contrasts] if isinstance(contrasts, Contrast) else list(contrasts)
    beside = _beside(several[0].diff, paper, p_paper)
    if p is None:
        return Judged("not judged", None, beside, p_paper)
    if p >= 1 - LEVEL:
        return Judged("not shown", p, beside, p_paper)
    if (several[0].diff > 0) != (better == "higher"):
        return Judged("opposite", p, beside, p_paper)
    smaller = beside == "smaller than the paper's"
    return Judged("shown, smaller than the paper's" if smaller else "shown", p, beside, p_paper)


def _beside(diff: float, paper: float | None, p: float | None) -> Beside:
    if paper is None or p is None:
        return ""
    if p >= 1 - LEVEL:
        return "compatible with the paper's"
    return (
        "smaller than the paper's"
        if (diff - paper) * math.copysign(1, paper) < 0
        else "larger than the paper's"
    )


def judge(
    claims: Sequence[Sequence[Contrast]], *, better: Better, papers: Sequence[float | None]
) -> list[Judged]:
    """The verdicts of all claims of a board: a family of their own, against 0 and against the papers'
    figures.

    Args:
        claims: of each claim its contrasts: against its counterpart, and against each further one.
        better: direction of the metric.
        papers: of each claim the paper's figure, or None.
    """
    against_0 = _corrected([joint_p(c) for c in claims])
    against_paper = _corrected(
        [None if paper is None else c[0].against(paper) for c, paper in zip(claims, papers, strict=True)]
    )
    return [
        verdict(c, p, better=better, paper=paper, p_paper=q)
        for c, p, paper, q in zip(claims, against_0, papers, against_paper, strict=True)
    ]


def _corrected(p: Sequence[float | None]) -> list[float | None]:
    found = holm([math.nan if x is None else x for x in p])
    return [None if math.isnan(x) else float(x) for x in found]


def over_tasks(differences: npt.ArrayLike) -> Contrast:
    """The paired t test over independent tasks, of which only claims are made: it speaks of other tasks too.

    Args:
        differences: one a data set, each the mean over seeds and tasks there; logarithms for ratios.
    """
    d = np.asarray(differences, float)
    n, diff = len(d), float(d.mean()) if len(d) else math.nan
    if n < TASKS:
        return Contrast(diff, None, None, None, None, f"{n} of at least {TASKS} independent tasks")
    se = float(d.std(ddof=1)) / math.sqrt(n)
    if se <= ROUNDING * max(float(np.abs(d).max()), 1e-300):
        return Contrast(diff, None, None, None, None, f"the same difference in all {n} tasks")
    half = float(t_quantile(n - 1)) * se
    return Contrast(diff, se, n - 1, half, float(two_sided(diff / se, n - 1)))
