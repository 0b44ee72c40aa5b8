"""What a track measures, and what its paper claims, as contrasts between rows that a board tests.

The contract gives these types to tracks; they stand in a file of their own because they say nothing about
how a cell is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of a score, and how to read it.

    ``kind``: ``quality`` (a claim about the method), ``cost`` (compared only within one hardware label) or
    ``diagnostic`` (explains, never ranks). ``censored``: values may be (bound, flag), see `Censored`.
    ``averaged``: False where the unit differs from task to task, so that a board lists each task's value.
    """

    name: str
    better: Better
    unit: str = ""
    digits: int = 4
    kind: Literal["quality", "cost", "diagnostic"] = "quality"
    censored: bool = False
    averaged: bool = True
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperEffect:
    """The size of an effect as a paper printed it, in the scale of the `Claim` that it belongs to.

    ``value``: a difference in the ranking metric, or a natural logarithm of a ratio. ``text``: as it was
    printed. ``source``: where it stands.
    """

    value: float
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A contrast that a track's paper is about: ``rows`` better than ``over``, averaged over pairs and tasks.

    ``rows`` and ``over``: names of rows, paired in order. ``also``: further counterparts, of the same length
    as ``rows``: the claim is shown only if it is shown against ``over`` and against each of them. ``tasks``:
    patterns of the names of tasks that it is about. ``group``: only tasks of that `Task.group`. ``scale``:
    how a metric is compared; ``log ratio`` for distances, of which factors are compared. ``paper``: the
    paper's own figure, None where none is sourced. ``of_paper``: whether it is a statement of the paper, or
    one that a reader will ask for.
    """

    name: str
    rows: tuple[str, ...]
    over: tuple[str, ...]
    also: tuple[tuple[str, ...], ...] = ()
    tasks: tuple[str, ...] = ("*",)
    group: str | None = None
    scale: Literal["difference", "log ratio"] = "difference"
    paper: PaperEffect | None = None
    of_paper: bool = True
