"""Packing by measured need: which cells share a GPU, decided from what cells of their kind took of one.

The first cells of a kind (a row on a task) run alone. If they used less than half of their GPU's time, later
ones ask for the fraction of it that their memory needs, and are kept so while more cells end in an hour than
alone. What runs out of memory or of time beside others runs again alone, since the others may be the cause.

Only cells that ask for one whole GPU are packed: who declares a fraction, or several GPUs, has decided.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import floor, inf
from statistics import fmean

from bench.contract import Record
from bench.engine.job import Unit

#: A GPU that computes less than this share of the time has room for others.
BUSY = 0.5
#: What cells may use of a GPU's memory together, and how much more than measured one may use.
USABLE, MARGIN = 0.9, 1.2
#: The most cells that share a GPU.
MOST = 8
_TIMES = ("load_s", "run_s", "snapshot_s", "score_s")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a cell took: seconds from its start to its end, memory of its GPU (0: not known), the share of
    time in which that computed (None: not known), and how many cells ran on it on average, itself among them.
    """

    seconds: float
    peak_gb: float
    busy: float | None
    shared: float

    @staticmethod
    def of(record: Record) -> Measured:
        """What the record of a cell says."""
        cost = record.cost
        return Measured(
            sum(cost.get(name, 0.0) for name in _TIMES),
            cost.get("gpu_peak_mb", 0.0) / 1024,
            cost.get("gpu_busy"),
            cost.get("gpu_shared", 1.0),
        )


@dataclass(slots=True)
class _Kind:
    """What is known of cells of one kind. ``back``: why they are not packed any more, "" if nothing speaks
    against it.
    """

    alone: list[Measured] = field(default_factory=list)
    beside: list[Measured] = field(default_factory=list)
    back: str = ""

    def at_once(self, gpu_gb: float) -> int:
        """How many share a GPU of so much memory."""
        peak = max((m.peak_gb for m in self.alone), default=0.0)
        if self.back or not peak or any(m.busy is None or m.busy >= BUSY for m in self.alone):
            return 1
        return max(1, min(MOST, floor(USABLE * gpu_gb / (MARGIN * peak))))

    def rate(self, cells: Sequence[Measured]) -> float:
        """Cells that end in an hour on one GPU."""
        seconds = fmean(m.seconds for m in cells)
        return 3600 * fmean(m.shared for m in cells) / seconds if seconds > 0 else inf


class Packing:
    """Which units of a sweep share a GPU.

    Args:
        kind: what a unit has in common with those that need the same.
        gpu_gb: memory of the smallest GPU of a type ("": of any) in the cluster, 0 if it is not known: then
            nothing is packed.
    """

    def __init__(self, kind: Callable[[Unit], Hashable], gpu_gb: Callable[[str], float]) -> None:
        self._kind, self._gpu_gb = kind, gpu_gb
        self._kinds: dict[Hashable, _Kind] = {}
        self._alone = set[str]()
        self.notes: list[str] = []

    def ended(self, unit: Unit, measured: Measured) -> bool:
        """A unit has ended well; returns whether others of its kind are to be placed otherwise now."""
        if not _packable(unit):
            return False
        known = self._kinds.setdefault(self._kind(unit), _Kind())
        gpu_gb = self._gpu_gb(unit.needs.accelerator)
        before = known.at_once(gpu_gb)
        (known.beside if measured.shared > 1 else known.alone).append(measured)
        now = known.at_once(gpu_gb)
        if now > 1 and len(known.beside) >= now and known.rate(known.beside) <= known.rate(known.alone):
            known.back = (
                f"{known.rate(known.beside):.1f} end in an hour on a GPU that they share, "
                f"{known.rate(known.alone):.1f} where each has one"
            )
            now = 1
        if now != before:
            self._note(unit, known, now)
        return now != before

    def crowded(self, unit: Unit, why: str) -> None:
        """A unit ran out of memory or of time beside others: it runs again alone, and so do others of its
        kind.
        """
        self._alone.add(unit.key)
        known = self._kinds.setdefault(self._kind(unit), _Kind())
        if not known.back:
            known.back = f"one of them ended as {why} beside others"
            self._note(unit, known, 1)

    def _note(self, unit: Unit, known: _Kind, n: int) -> None:
        if n > 1:
            peak, busy = max(m.peak_gb for m in known.alone), max(m.busy or 0.0 for m in known.alone)
            why = f"one took {peak:.1f} GB and {busy:.0%} of the time of a GPU: {n} share one (--no-pack)"
        else:
            why = f"each has a GPU of its own again: {known.back}"
        self.notes.append(f"cells such as {unit.label}: {why}")

    def placed(self, unit: Unit) -> Unit:
        """The unit with the part of a GPU that it asks for now."""
        if not _packable(unit):
            return unit
        known = self._kinds.get(self._kind(unit))
        gpu_gb = self._gpu_gb(unit.needs.accelerator)
        n = known.at_once(gpu_gb) if known is not None and unit.key not in self._alone else 1
        return with_gpu(unit, 1.0 if n == 1 else floor(10_000 / n) / 10_000, n > 1)


def with_gpu(unit: Unit, gpu: float, packed: bool) -> Unit:
    """A unit that asks for that part of a GPU."""
    if (unit.needs.gpu, unit.packed) == (gpu, packed):
        return unit
    return replace(unit, packed=packed, job=replace(unit.job, needs=replace(unit.needs, gpu=gpu)))


def _packable(unit: Unit) -> bool:
    return unit.job.kind == "cell" and (unit.packed or unit.needs.gpu == 1)
