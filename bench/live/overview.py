"""Plan, records and drivers of a store as one picture: cells as a matrix by status, hours, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.contract import SYMBOLS
from bench.live.facts import Driver
from bench.plan import Plan, PlannedCell
from bench.store.summaries import Readable, RecordSummary

#: Status -> what stands for a cell of it; in this order in a legend.
MARKS: Mapping[str, str] = {
    "ok": "■", "running": "▶", "new": SYMBOLS["new"], "skipped": SYMBOLS["skipped"],
    **{s: SYMBOLS[s] for s in ("failed", "oom", "timeout", "diverged", "lost", "blocked")}, "stale": "†",
}  # fmt: skip
#: Ends that a person should look at.
BAD = ("failed", "oom", "timeout", "diverged")
#: The most failures that are shown, and lines of each.
FAILURES, LINES = 20, 6
_TIMES = ("load_s", "run_s", "score_s", "snapshot_s")


@dataclass(frozen=True, slots=True)
class Mark:
    """One cell of the matrix. ``alias``: the row whose cell this one is."""

    key: str
    seed: int
    status: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The cells of a track: ``rows[row][i]`` are those on ``tasks[i]``, one a seed."""

    track: str
    tasks: tuple[str, ...]
    rows: Mapping[str, tuple[tuple[Mark, ...], ...]]


@dataclass(frozen=True, slots=True)
class Hours:
    """What was spent, by the records: hours of workers, and hours × GPUs of those that had GPUs."""

    worker_h: float
    gpu_h: float
    records: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that ended badly, with the last lines of its error or its log."""

    key: str
    cell: str
    status: str
    why: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """``own``: what this store's records say was spent, running cells among them; ``published``: the same of
    published records, which were made elsewhere. ``cost``: of the own GPU-hours at the rate, None without.
    """

    profile: str
    matrices: tuple[Matrix, ...]
    counts: Mapping[str, int]
    drivers: tuple[Driver, ...]
    own: Hours
    published: Hours
    failures: tuple[Failure, ...]
    more_failures: int
    cost: float | None


def overview(
    plan: Plan,
    records: Readable,
    drivers: Sequence[Driver],
    rate: float | None = None,
    failures: int = FAILURES,
) -> Overview:
    """The picture of a plan at this moment.

    Args:
        plan: its cells; records that came since it was made count.
        records: where they are read from.
        drivers: what drivers of the store do, see `bench.live.facts.LiveFiles.drivers`.
        rate: what an hour of one GPU costs.
        failures: how many are read whole.
    """
    summaries = records.summaries()
    alive = [d for d in drivers if d.alive()]
    running = {r.key for d in alive for r in d.running}
    cells = {c.key: c for c in plan.cells}
    status = {k: _status(c, summaries.get(k), k in running) for k, c in cells.items()}
    found = [s for k in (*cells, *_shards(plan)) if (s := summaries.get(k)) is not None]
    own = _with_running(hours(s for s in found if not s.layer), alive, cells)
    bad = [k for k, how in status.items() if how in BAD and k in summaries]
    bad.sort(key=lambda k: summaries[k].ended, reverse=True)
    counted = Counter(status.values())
    return Overview(
        profile=plan.profile,
        matrices=tuple(_matrix(plan, p.track.name, status) for p in plan.tracks),
        counts={s: counted[s] for s in MARKS if counted[s]},
        drivers=tuple(drivers),
        own=own,
        published=hours(s for s in found if s.layer),
        failures=tuple(_failure(records, cells[k], summaries[k]) for k in bad[:failures]),
        more_failures=max(0, len(bad) - failures),
        cost=None if rate is None else own.gpu_h * rate,
    )


def _with_running(own: Hours, alive: Sequence[Driver], cells: Mapping[str, PlannedCell]) -> Hours:
    """What records say was spent, and what running cells have used so far."""
    worker, gpu = own.worker_h, own.gpu_h
    for r in (r for d in alive for r in d.running if r.key in cells):
        worker, gpu = worker + r.seconds / 3600, gpu + r.seconds / 3600 * cells[r.key].needs.gpu
    return Hours(worker, gpu, own.records)


def _shards(plan: Plan) -> set[str]:
    return {k for c in plan.cells for k in c.may_read}


def hours(summaries: Iterable[RecordSummary]) -> Hours:
    """What records say was spent on their cells."""
    worker = gpu = 0.0
    n = 0
    for s in summaries:
        spent = sum(float(s.cost[k]) for k in _TIMES if k in s.cost) / 3600
        worker, gpu, n = worker + spent, gpu + spent * float(s.limits.get("gpu") or 0.0), n + 1
    return Hours(worker, gpu, n)


def _status(c: PlannedCell, now: RecordSummary | None, running: bool) -> str:
    """The status of a cell: of a record that came since the plan was made, else that of the plan."""
    if running:
        return "running"
    if now is not None and (c.summary is None or now.place != c.summary.place):
        return now.status
    return status_of(c)


def status_of(c: PlannedCell) -> str:
    """The status of a cell as the plan saw it."""
    if c.state == "stale":
        return "stale"
    if c.skip:
        return "skipped"
    return c.summary.status if c.summary is not None and c.state != "new" else c.state


def _matrix(plan: Plan, track: str, status: Mapping[str, str]) -> Matrix:
    cells = [c for c in plan.cells if c.plan.track.name == track]
    tasks = tuple(dict.fromkeys(c.task.name for c in cells))
    rows: dict[str, dict[str, list[Mark]]] = {}
    for c in cells:
        mark = Mark(c.key, c.cell.seed, status[c.key], c.alias_of or "")
        rows.setdefault(c.row, {}).setdefault(c.task.name, []).append(mark)
    return Matrix(track, tasks, {r: tuple(tuple(of.get(t, ())) for t in tasks) for r, of in rows.items()})


def _failure(records: Readable, c: PlannedCell, s: RecordSummary) -> Failure:
    record = records.read(c.key)
    lines = list(record.error.get("last_lines", ()) or record.log) if record is not None else []
    return Failure(c.key, str(c.cell), s.status, s.error or s.reason, tuple(lines[-LINES:]))
