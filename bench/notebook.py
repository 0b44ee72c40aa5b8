"""`bench.try_method`: run one method on one task in this process and show it beside the reference.

It is for notebooks and first steps: nothing is recorded, and no limits hold.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contract import BenchError, Method, Score, Snapshot, Stage, Task
from bench.engine.context import RunContext, RunInputs, set_seed
from bench.errors import nearest
from bench.plan import Plan, make_plan
from bench.registry import Registry
from bench.store.committed.layers import Layered, committed_records, home, results_folder
from bench.store.records import Store
from bench.suite import Suite


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of `try_method`: the score, the seconds that the method ran, and by metric the values of the
    reference on the same task, as far as they are recorded.
    """

    row: str
    task: str
    ranks_by: str
    score: Score
    seconds: float
    reference: str
    reference_values: Mapping[str, list[float]]

    def __str__(self) -> str:
        lines = [f"{self.row} on {self.task}, {self.seconds:.1f} s"]
        for name, value in self.score.metrics.items():
            values = self.reference_values.get(name, [])
            mean = f"{sum(values) / len(values):.4f} (n={len(values)})" if values else "no record"
            mark = " <- ranks" if name == self.ranks_by else ""
            shown = f"{value:.4f}" if isinstance(value, int | float) else str(value)
            lines.append(f"  {name:16} {shown:>10}   {self.reference}: {mean}{mark}")
        return "\n".join(lines)

    __repr__ = __str__


def try_method(
    fn: Callable[..., Any],
    track: str,
    task: str | None = None,
    *,
    profile: str = "laptop",
    hp: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    suite: str | Path | None = None,
    store: str | Path | None = None,
) -> Tried:
    """Run ``fn(data, hp, ctx)`` on one task in this process and score it.

    Args:
        fn: a function, decorated with `bench.contract.method` or not.
        track: name of the track. ``task``: name of a task of the profile (default: its first).
        hp: hyper-parameters over the declared ones.
        seed: as the engine would set it.
        device: ``cpu`` or ``cuda``.
        suite, store: where sizes and the reference's records come from (default: as on the command line;
            published records are under the store).

    Raises:
        BenchError: no such track, profile, task, hyper-parameter or stage.
        AnswerError: the answer is not of the shape that the track expects.
    """
    registry = Registry()
    opened = _records(store, profile, track)
    plan = make_plan(Suite.read(suite), registry, opened, profile, tracks=[track])
    chosen, run = plan.tracks[0].track, plan.tracks[0].run
    tasks = {t.name: t for t in plan.tasks[track]}
    if task is not None and task not in tasks:
        raise BenchError(f"profile {profile} of {track} has no task {task!r}{nearest(task, tasks)}")
    picked = tasks[task] if task else next(iter(tasks.values()))
    if why := chosen.missing(picked, run):
        raise BenchError(f"{picked.name}: {why}")
    declared = next((m for m in getattr(fn, "__bench_methods__", []) if m.track == track), None)
    if declared and declared.missing and (why := declared.missing(picked, run)):
        raise BenchError(f"{declared.id}: {why}")
    own = [s.of_seed(seed) for s in declared.stages_of(picked, run)] if declared else []
    stages = _stages([s.of_seed(seed) for s in chosen.stages(picked, run)], own, opened)
    inputs = RunInputs(seed if chosen.split_per_seed else None, device, stages)
    given = chosen.load(picked, run, inputs)

    def scorer(answer: Any, history: list[Snapshot]) -> Score:
        return chosen.score(picked, answer, chosen.truth(picked, run, inputs), history)

    stream = picked.stream(seed)
    set_seed(stream)
    with tempfile.TemporaryDirectory(prefix="bench-try-") as folder:
        log = logging.getLogger("bench.method")
        ctx = RunContext(stream, device, device == "cuda", Path(folder), run, log, scorer, stages)
        ctx.start_clock()
        clock = time.monotonic()
        answer = fn(given, _hp(declared, hp), ctx)
        seconds = time.monotonic() - clock - ctx.snapshot_s
        score = scorer(answer, ctx.history)
    return Tried(
        getattr(fn, "__name__", "method"), picked.name, plan.tracks[0].ranks_by, score, seconds,
        chosen.reference, _values_of_reference(plan, picked),
    )  # fmt: skip


def _values_of_reference(plan: Plan, task: Task) -> dict[str, list[float]]:
    """What the reference of the planned track has on a task: metric -> a value for each record."""
    values: dict[str, list[float]] = {}
    reference = plan.tracks[0].track.reference
    for c in plan.cells:
        if c.row == reference and c.task.name == task.name and c.summary and c.summary.status == "ok":
            for name, v in c.summary.metrics.items():
                if isinstance(v, int | float):
                    values.setdefault(name, []).append(v)
    return values


def _stages(track: Sequence[Stage], method: Sequence[Stage], records: Store | Layered) -> dict[str, Path]:
    """The folders of the stages; a stage that is not built yet is an error, since only `bench run` builds."""
    out = {}
    for stage in (*track, *method):
        path = records.artifacts.stage_path(stage)
        if path is None:
            raise BenchError(f"stage {stage.name} is not built yet; bench run one cell that reads it")
        out[stage.name] = path
    return out


def _records(store: str | Path | None, profile: str, track: str) -> Store | Layered:
    """The records of the store above the published ones of a track, as on the command line."""
    opened = Store.open(store or home() / "results/store")
    under = committed_records(results_folder(), profile, [track])
    return opened if under is None else Layered(opened, under)


def _hp(declared: Method | None, changed: Mapping[str, Any] | None) -> dict[str, Any]:
    known = declared.hp_of(declared.id) if declared else {}
    for name in changed or {}:
        if declared and name not in known:
            raise BenchError(f"no hyper-parameter {name!r}{nearest(name, known)}")
    return {**known, **(changed or {})}
