"""One cell (or one shard of a stage), inside its own process: load, run, score, send the result.

Runs forked from the fork server of `pool.py`, which owns limits, statuses and records; this side only says in
which phase it is, what came out, or which exception ended it.
"""

from __future__ import annotations

import ctypes
import logging
import math
import multiprocessing as mp
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench.contract import AnswerError, Method, Score, Snapshot, Stage, Task, Track
from bench.engine.context import RunContext, RunInputs, RunStageContext, plain, set_seed
from bench.registry import Found, Origin, methods_in
from bench.suite import settings

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a child needs, as plain values: it finds code by ``Origin`` and data by its track.

    ``stages``: name -> folder, already fetched and verified by the parent. ``address``/``shard``: set for a
    stage. ``made_by``: digest of the code and settings that it runs with, for its checkpoints.
    """

    key: str
    kind: str
    cell: Mapping[str, Any]
    task: Task
    track: Origin
    method: Origin
    method_id: str
    ranks_by: str
    hp: Mapping[str, Any]
    seed: int
    device: str = "cpu"
    threads: int = 1
    gpu_fraction: float = 0
    gpu_mem_gb: float | None = None
    visible: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    shard: int = 0
    checkpoints: str | None = None
    made_by: str = ""


def run_settings(job: Job, track: Track) -> Any:
    """The track's run settings with what this cell declares otherwise."""
    return settings(track.Run, job.cell["run"], lambda *key: ".".join((job.key, "run", *map(str, key))))


def find(job: Job) -> tuple[Track, Method]:
    """The track and the method of a job, importing nothing else of ours: what is loaded is what it rests
    on.
    """
    module = job.track.load()
    track: Track = module.TRACK
    for m in methods_in(job.method.load()):
        if m.id == job.method_id and m.track == track.name:
            return track, m
    raise LookupError(f"{job.method.source_name} no longer declares {job.method_id!r} for track {track.name}")


def main(job: Job, folder: str, pipe: Connection) -> None:
    """Entry point of the child process."""
    _settle(job, Path(folder))
    tell = _Teller(pipe)
    try:
        result = _stage(job, Path(folder), tell) if job.kind == "stage" else _cell(job, Path(folder), tell)
        tell("result", result)
    except BaseException as e:
        tell("error", _error(e))
        if not isinstance(e, Exception):
            raise
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    # Nothing after this point may decide the outcome: threads of libraries that hang at exit, atexit hooks.
    pipe.close()
    os._exit(0)


class _Teller:
    """Sends (kind, value) to the parent."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def __call__(self, kind: str, value: Any) -> None:
        self.pipe.send((kind, value))


def _settle(job: Job, folder: Path) -> None:
    """Own session, own folders, own share of the machine; dies with its parent and first of all in need."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_driver()
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for name in ("work", "home", "tmp"):
        (folder / name).mkdir()
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threads = str(job.threads)
    os.environ.update(
        HOME=str(folder / "home"),
        TMPDIR=str(folder / "tmp"),
        OMP_NUM_THREADS=threads,
        MKL_NUM_THREADS=threads,
        OPENBLAS_NUM_THREADS=threads,
        TOKENIZERS_PARALLELISM="false",
    )
    if job.visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.visible
    os.chdir(folder / "work")
    _limit_threads(job.threads)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", force=True)


def _die_with_driver() -> None:
    """End this process and all it started when the driver is gone, even by SIGKILL.

    Its parent is the fork server, which stays for as long as any child holds the pipe that keeps it alive. So
    that end is closed here: then the server leaves with the driver, and the kernel ends this process too. The
    thread reaches what this process started, which the kernel does not.
    """
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    driver = mp.parent_process()
    if driver is None:
        return
    gone = driver.sentinel

    def watch() -> None:
        wait([gone])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="driver").start()


def _limit_threads(n: int) -> None:
    """Thread pools read their variables when they are loaded, which the fork server did long ago: tell them
    again.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n)
    if "threadpoolctl" in sys.modules or "sklearn" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(n)


def _use_device(job: Job) -> None:
    if job.device != "cuda":
        return
    import torch

    if torch.cuda._is_in_bad_fork():
        raise RuntimeError("CUDA was initialised in the fork server; this child cannot use it")
    if not torch.cuda.is_available():
        # The device stays what was asked for: who uses it gets torch's own error, who does not may run.
        logging.getLogger("bench").warning("this cell was given a GPU, but torch sees none")
        return
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    shares = [
        s for s in (job.gpu_fraction if job.gpu_fraction < 1 else 0, (job.gpu_mem_gb or 0) / total) if s > 0
    ]
    if shares:
        torch.cuda.set_per_process_memory_fraction(min(1.0, *shares))
    torch.cuda.reset_peak_memory_stats()


def _cell(job: Job, folder: Path, tell: _Teller) -> dict[str, Any]:
    track, method = find(job)
    _use_device(job)
    run = run_settings(job, track)
    stages = {k: Path(v) for k, v in job.stages.items()}
    inputs = RunInputs(job.seed if track.split_per_seed else None, job.device, stages)
    kept: list[Any] = []

    def scorer(answer: Any, history: list[Snapshot]) -> Score:
        if not kept:
            kept.append(track.truth(job.task, run, inputs))
        return track.score(job.task, answer, kept[0], history)

    tell("phase", "load")
    clock = time.monotonic()
    given = track.load(job.task, run, inputs)
    cost = {"load_s": time.monotonic() - clock}
    set_seed(job.seed)
    ctx = RunContext(
        job.seed,
        job.device,
        job.device == "cuda",
        folder / "work",
        run,
        logging.getLogger("bench.method"),
        scorer,
        stages,
        Path(job.checkpoints) if job.checkpoints else None,
        tell,
    )
    tell("phase", "run")
    ctx.start_clock()
    ctx.made_by = job.made_by
    answer = method.fn(given, dict(job.hp), ctx)
    cost |= {"run_s": ctx.seconds(), "snapshot_s": ctx.snapshot_s}
    if job.device == "cuda":
        import torch

        if torch.cuda.is_available():
            cost["gpu_mem_mb"] = torch.cuda.max_memory_allocated() / 2**20
    tell("phase", "score")
    clock = time.monotonic()
    score = scorer(answer, ctx.history)
    cost["score_s"] = time.monotonic() - clock
    return {
        **_packed(score, track, job.ranks_by),
        "cost": cost,
        "curve": ctx.curve,
        "history": _history(ctx.history),
    }


def _stage(job: Job, folder: Path, tell: _Teller) -> dict[str, Any]:
    track, method = find(job)
    _use_device(job)
    run = run_settings(job, track)
    stage = _by_address(job, track, method, run)
    out = folder / "out"
    out.mkdir()
    set_seed(job.seed + job.shard)
    ctx = RunStageContext(
        out,
        stage.params,
        job.shard,
        job.seed,
        job.device,
        logging.getLogger("bench.stage"),
        {k: Path(v) for k, v in job.stages.items()},
    )
    tell("phase", "run")
    clock = time.monotonic()
    stage.build(ctx)
    if not any(p.is_file() for p in out.rglob("*")):
        raise AnswerError(f"stage {stage.name} built no file in ctx.outdir")
    return {"cost": {"run_s": time.monotonic() - clock}}


def _by_address(job: Job, track: Track, method: Method, run: Any) -> Stage:
    from bench.plan import all_stages

    for stage in all_stages(track, Found(method, job.method, "method"), job.task, run):
        if stage.address == job.address:
            return stage
    raise LookupError(f"no stage with address {job.address} is declared any more")


def _packed(score: Score, track: Track, ranks_by: str) -> dict[str, Any]:
    """A score as values that travel over the pipe; unknown metrics and a missing ranking metric are the
    track's bug.
    """
    known = {m.name for m in track.metrics}
    for name in score.metrics:
        if name.removeprefix("val_") not in known:
            raise AnswerError(f"track {track.name} scored {name!r}, which it does not declare")
    if score.metrics.get(ranks_by) is None:
        raise AnswerError(f"the ranking metric {ranks_by!r} has no value")
    metrics = {k: plain(v) for k, v in score.metrics.items()}
    numbers = {k: v["bound"] if isinstance(v, dict) else v for k, v in metrics.items()}
    bad = [k for k, v in numbers.items() if v is not None and not math.isfinite(v)]
    return {
        "metrics": {k: None if k in bad else v for k, v in metrics.items()},
        "diverged": [f"{k} is {numbers[k]}" for k in bad],
        "series": {k: _series(v) for k, v in score.series.items()},
        "units": dict(score.units),
        "views": dict(score.views),
    }


def _series(array: Any) -> dict[str, Any]:
    """A DataArray as plain JSON values; what is not finite becomes None."""
    import numpy as np

    values = np.asarray(array.values, dtype=float)
    data = np.where(np.isfinite(values), values.astype(object), None).tolist()  # type: ignore[call-overload]
    coords = {str(k): v.values.tolist() for k, v in array.coords.items()}
    return {"dims": [str(d) for d in array.dims], "coords": coords, "data": data}


def _history(history: list[Snapshot]) -> list[dict[str, Any]]:
    def finite(v: Any) -> Any:
        return None if isinstance(v, float) and not math.isfinite(v) else v

    return [
        {
            "step": s.step,
            "seconds": round(s.seconds, 3),
            "metrics": {k: finite(plain(v)) for k, v in s.metrics.items()},
        }
        for s in history
    ]


def _error(error: BaseException) -> dict[str, Any]:
    """An exception as words: type, message, its last lines; and whether it means that memory ran out."""
    name, text = type(error).__name__, str(error)
    memory = isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text
    lines = "".join(traceback.format_exception(error)).splitlines()
    where = "device" if name == "OutOfMemoryError" else "host"
    return {"type": name, "message": text[:2000], "last_lines": lines[-15:], "oom": where if memory else ""}
