"""One cell (or one shard of a stage) in its own process: load the data, run the method, score, send the
result.

The process is forked from the fork server (`forkserver.py`). The parent enforces limits, decides the status
and writes the record; this side only sends in which phase it is, the result, or the exception that ended it.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.contract import AnswerError, Score, Snapshot, Track
from bench.engine import processes
from bench.engine.context import Curve, RunContext, RunInputs, RunStageContext, plain, set_seed, utf8
from bench.engine.job import Job, load

#: The most that a record holds of an error: characters of its type, of its message and of each of its last
#: lines, and the number of lines.
TYPE, MESSAGE, LINE, LINES = 200, 2000, 500, 15


def main(job: Job, folder: str, pipe: Connection) -> None:
    """Entry point of the child process."""
    send, code = _Sender(pipe), 1
    try:
        try:
            _settle(job, Path(folder))
            do = _stage if job.kind == "stage" else _cell
            result = do(job, Path(folder), send)
            _flush()
            send("result", result)
        except BaseException as e:  # a SystemExit of the method is an answer too
            error = _error(e, (job.method.path, job.track.path))
            _flush()
            send("error", error)
        code = 0
    except BaseException:
        traceback.print_exc()
        _flush()
    finally:
        # Nothing after this point may decide the outcome: threads that live on, what libraries do at exit.
        os._exit(code)


class _Sender:
    """Sends (kind, value) to the parent, from any thread of this process. In a process that the method forked
    it does nothing, so that the parent hears each message once.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.process, self.lock = pipe, os.getpid(), threading.Lock()

    def __call__(self, kind: str, value: Any) -> None:
        if os.getpid() == self.process:
            with self.lock:
                self.pipe.send((kind, value))


def _flush() -> None:
    """Write to the log what was printed: once the result is sent, the parent may end this process at any
    time.
    """
    for stream in (sys.stdout, sys.stderr):
        # The method may have closed it or put something else there, and the disk may be full.
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _folders(folder: Path) -> None:
    """Make the folders of a cell. This is repeated after the method ran, which may have removed them:
    libraries ask for the current folder, and an answer is scored whatever the method did to its folders.
    """
    with suppress(OSError):
        for name in ("work", "home", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir(folder / "work" if (folder / "work").is_dir() else "/")


def _settle(job: Job, folder: Path) -> None:
    """Give this process a session, folders and a share of the machine of its own. It dies with its parent, is
    the first to be killed when the machine runs out of memory, and adopts the orphans among its descendants.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The fork server exits once this end of a pipe is closed everywhere: only the driver may have it open.
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    processes.die_with_parent()
    processes.adopt()
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that is not UTF-8 may be printed
            stream.reconfigure(errors="backslashreplace")
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    _folders(folder)
    os.chdir(folder / "work")
    threads = str(job.threads)
    # What torch.compile has built is shared by all cells of a user.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")
    os.environ.update(
        HOME=str(folder / "home"),
        TMPDIR=str(folder / "tmp"),
        OMP_NUM_THREADS=threads,
        MKL_NUM_THREADS=threads,
        OPENBLAS_NUM_THREADS=threads,
        TOKENIZERS_PARALLELISM="false",
    )
    for name in [n for n in os.environ if n.startswith("BENCH_")]:
        del os.environ[name]
    os.environ.update(job.environment)
    tempfile.tempdir = None  # torch asked for it in the fork server, which cached the answer
    if job.visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.visible
    _limit_threads(job.threads)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", force=True)


def _limit_threads(n: int) -> None:
    """Limit thread pools that exist already: they read the environment when they were loaded, which happened
    in the fork server.
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
        # The device stays as asked for: a method that uses it gets torch's own error, any other may run.
        logging.getLogger("bench").warning("this cell was given a GPU, but torch sees none")
        return
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    fraction, memory = job.needs.gpu, (job.needs.gpu_mem_gb or 0) / total
    shares = [share for share in (fraction if fraction < 1 else 0, memory) if share > 0]
    if shares:
        torch.cuda.set_per_process_memory_fraction(min(1.0, *shares))
    torch.cuda.reset_peak_memory_stats()


def _gpu_peak_mb() -> float:
    """The most memory that this process had of its GPU, with what CUDA itself takes there. The latter can be
    told only where no other process uses the GPU: else the parent leaves the number out.
    """
    import torch

    free, total = torch.cuda.mem_get_info()
    own = total - free - torch.cuda.memory_reserved()
    return float(torch.cuda.max_memory_reserved() + max(0, own)) / 2**20


def _cell(job: Job, folder: Path, send: _Sender) -> dict[str, Any]:
    code = load(job)
    track, run = code.track, code.run
    _use_device(job)
    stages = {k: Path(v) for k, v in job.stages.items()}
    inputs = RunInputs(job.seed if track.split_per_seed else None, job.device, stages)
    truth: list[Any] = []  # opened when it is first needed

    def scorer(answer: Any, history: list[Snapshot]) -> Score:
        _folders(folder)
        if not truth:
            truth.append(track.truth(job.task, run, inputs))
        return track.score(job.task, answer, truth[0], history)

    send("phase", "load")
    clock = time.monotonic()
    given = track.load(job.task, run, inputs)
    cost = {"load_s": time.monotonic() - clock}
    stream = job.task.stream(job.seed)
    set_seed(stream)
    ctx = RunContext(
        stream,
        job.device,
        job.device == "cuda",
        folder / "work",
        run,
        logging.getLogger("bench.method"),
        scorer,
        stages,
        Path(job.checkpoints) if job.checkpoints else None,
        send,
    )
    send("phase", "run")
    ctx.start_clock()
    ctx.made_by = job.made_by
    answer = code.method.fn(given, job.hp, ctx)
    cost |= {"run_s": ctx.seconds(), "snapshot_s": ctx.snapshot_s}
    if job.device == "cuda":
        import torch

        if torch.cuda.is_available():
            cost["gpu_mem_mb"] = torch.cuda.max_memory_allocated() / 2**20
            cost["gpu_peak_mb"] = _gpu_peak_mb()
    send("phase", "score")
    clock = time.monotonic()
    score = scorer(answer, ctx.history)
    cost["score_s"] = time.monotonic() - clock
    return {
        **_packed(score, track, job.ranks_by),
        "cost": cost,
        "curve": _points("reports", ctx.reports),
        "history": _points("snapshots", _history(ctx.history)),
    }


def _stage(job: Job, folder: Path, send: _Sender) -> dict[str, Any]:
    stage = load(job).stage(job.address)
    if stage is None:
        raise LookupError(f"no stage with address {job.address} is declared any more")
    _use_device(job)
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
    send("phase", "run")
    clock = time.monotonic()
    stage.build(ctx)
    _folders(folder)
    if not any(p.is_file() for p in out.rglob("*")):
        raise AnswerError(f"stage {stage.name} built no file in ctx.outdir")
    return {"cost": {"run_s": time.monotonic() - clock}}


def _packed(score: Score, track: Track, ranks_by: str) -> dict[str, Any]:
    """A score as plain values that can be sent over the pipe.

    Raises:
        AnswerError: the track scored a metric that it does not declare, or none that ranks.
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
    """A DataArray as plain JSON values; numbers that are not finite become None."""
    import numpy as np

    values = np.asarray(array.values, dtype=float)
    data = np.where(np.isfinite(values), values.astype(object), None).tolist()  # type: ignore[call-overload]
    coords = {str(k): v.values.tolist() for k, v in array.coords.items()}
    return {"dims": [str(d) for d in array.dims], "coords": coords, "data": data}


def _history(history: list[Snapshot]) -> Curve:
    def finite(v: Any) -> Any:
        return None if isinstance(v, float) and not math.isfinite(v) else v

    curve = Curve()
    for s in history:
        metrics = {k: finite(plain(v)) for k, v in s.metrics.items()}
        curve.add({"step": s.step, "seconds": round(s.seconds, 3), "metrics": metrics})
    return curve


def _points(what: str, curve: Curve) -> list[dict[str, Any]]:
    """The points of a curve. A line in the log says so where the curve was thinned."""
    if curve.stride > 1:
        message = "%d %s: the record keeps %d, one in %d and the last"
        logging.getLogger("bench").info(message, curve.seen, what, len(curve.points), curve.stride)
    return curve.points


def _error(error: BaseException, files: tuple[str, str]) -> dict[str, Any]:
    """An exception as plain values: its type, message and last lines, the line at which it was raised, and
    whether it means out of memory or a full disk.

    The line is the innermost one in the file of the method, else in that of the track; ``files`` are these
    two. What a track says of an answer (`AnswerError`) is not about the track's own lines.

    Its class may be anybody's: the message may be of any length, may not be UTF-8, and making it may fail.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as e:
        text = f"(its message cannot be shown: {type(e).__name__})"
    try:
        lines = "".join(traceback.format_exception(error)).splitlines()[-LINES:]
    except Exception as e:
        lines = [f"(its traceback cannot be shown: {type(e).__name__})"]
    frames = [(f.f_code.co_filename, n) for f, n in traceback.walk_tb(error.__traceback__)]
    blamed = files[:1] if isinstance(error, AnswerError) else files
    at = next((f"{file}:{n}" for file in blamed for raised, n in reversed(frames) if raised == file), "")
    no_room = any(_is_full(e) for e in _chain(error))
    memory = isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text
    where = "device" if name == "OutOfMemoryError" else "host"
    return {
        "type": utf8(name, TYPE),
        "message": utf8(text, MESSAGE),
        "last_lines": [utf8(line, LINE) for line in lines],
        "at": utf8(at, MESSAGE),
        "oom": where if memory else "",
        "no_room": no_room,
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was raised for."""
    seen = set[int]()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _is_full(error: BaseException) -> bool:
    """Whether a disk was full. Libraries with files of their own say it in the system's words alone."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    said = [text for text in error.args if isinstance(text, str)]
    return any(os.strerror(n) in text for n in (errno.ENOSPC, errno.EDQUOT) for text in said)
