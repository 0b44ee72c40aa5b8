"""Logs of cells to where people look: MLflow, Weights & Biases, TensorBoard, each through its own client.

A cell is one run there, made when its record is: its settings, its curve and snapshots, its scores, and the
record whole. It is made by a thread of its own, beside the sweep: a log that fails is a note at the end and
never a cell that fails. Where it goes is each client's business, by its own variables (`MLFLOW_TRACKING_URI`,
`WANDB_MODE=offline`), of TensorBoard ``$TENSORBOARD_LOGGING_DIR`` or ``runs``.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract import BenchError, Record

if TYPE_CHECKING:
    from bench.engine.sweep import Sweep
    from bench.store.records import Store

#: The name under which experiments and projects are found there.
PROJECT = "gridbench"
#: At most so many characters of a setting: what MLflow takes.
_LONGEST = 500
#: What MLflow allows in a name; everything else becomes ``_``.
_STRANGE = re.compile(r"[^\w\-. :/]")


class Log(Protocol):
    """Where runs are made."""

    def cell(self, record: Record) -> None:
        """Make the run of a cell, whole."""

    def close(self) -> None:
        """Write what is not written yet."""


def name_of(record: Record) -> str:
    """A run's name, as a reader of the board knows the cell."""
    c = record.cell
    return f"{c['row']} · {c['task']} · seed {c['seed']}"


def settings_of(record: Record) -> dict[str, Any]:
    """What the cell was declared with: hyper-parameters, and the run settings that are not the defaults."""
    c = record.cell
    named = {k: c[k] for k in ("track", "task", "row", "seed")}
    return named | {f"hp.{k}": v for k, v in c["hp"].items()} | {f"run.{k}": v for k, v in c["run"].items()}


def scores_of(record: Record) -> dict[str, float]:
    """Final scores and costs, those that are numbers; of a value that was never reached its bound."""
    found = {**record.metrics, **{f"cost.{k}": v for k, v in record.cost.items()}}
    plain = {k: v["bound"] if isinstance(v, Mapping) and "bound" in v else v for k, v in found.items()}
    return {k: float(v) for k, v in plain.items() if _is_number(v)}


def points_of(record: Record) -> Iterator[tuple[int, dict[str, float]]]:
    """The curve that the method reported and its snapshots, each as a step and its numbers."""
    for i, point in enumerate(record.curve):
        step = point.get("step", i)
        numbers = {f"curve.{k}": float(v) for k, v in point.items() if k != "step" and _is_number(v)}
        yield int(step) if _is_number(step) else i, numbers
    for at in record.history:
        metrics = {f"snapshot.{k}": v for k, v in at["metrics"].items()}
        yield int(at["step"]), {k: float(v) for k, v in metrics.items() if _is_number(v)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def text_of(record: Record) -> str:
    """The record as JSON."""
    return json.dumps(asdict(record), indent=1, ensure_ascii=False, default=list)


def _ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


class MlflowLog:
    """Runs of MLflow, in an experiment for each track; its key and status are tags."""

    def __init__(self) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        self._experiments: dict[str, str] = {}

    def cell(self, record: Record) -> None:
        """See `Log.cell`."""
        from mlflow.entities import Metric, Param

        client, c = self._client, record.cell
        tags = {
            "key": record.key,
            "status": record.status,
            "track": c["track"],
            "reason": record.reason[:_LONGEST],
        }
        run = client.create_run(
            self._experiment(c["track"]), start_time=_ms(record.started), tags=tags, run_name=name_of(record)
        )
        at, made = _ms(record.ended), run.info.run_id
        params = [Param(_plain(k), str(v)[:_LONGEST]) for k, v in settings_of(record).items()]
        metrics = [Metric(_plain(k), v, at, 0) for k, v in scores_of(record).items()]
        metrics += [Metric(_plain(k), v, at, s) for s, of in points_of(record) for k, v in of.items()]
        for i in range(0, max(len(metrics), 1), 1000):  # the most that a request may hold
            client.log_batch(made, metrics[i : i + 1000], params[:100] if i == 0 else [])
        client.log_text(made, text_of(record), "record.json")
        client.set_terminated(made, "FINISHED" if record.status in ("ok", "skipped") else "FAILED", at)

    def _experiment(self, track: str) -> str:
        name = f"{PROJECT}/{track}"
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            made: str = self._client.create_experiment(name) if found is None else found.experiment_id
            self._experiments[name] = made
        return self._experiments[name]

    def close(self) -> None:
        """See `Log.close`: every run is written when it is made."""


def _plain(name: str) -> str:
    return _STRANGE.sub("_", name)


class WandbLog:
    """Runs of Weights & Biases, grouped by track; with ``WANDB_MODE=offline`` they stay in ``wandb/``."""

    def __init__(self) -> None:
        import wandb

        self._wandb = wandb

    def cell(self, record: Record) -> None:
        """See `Log.cell`."""
        settings = self._wandb.Settings(silent=True, console="off")
        run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), group=record.cell["track"],
            name=name_of(record), config=settings_of(record), tags=[record.status], reinit="create_new",
            settings=settings,
        )  # fmt: skip
        try:
            run.summary.update({**scores_of(record), "key": record.key, "status": record.status})
            for step, numbers in points_of(record):
                run.log({**numbers, "step": step})
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "record.json"
                file.write_text(text_of(record), encoding="utf-8")
                artifact = self._wandb.Artifact(f"record-{record.key}", type="record")
                artifact.add_file(str(file))
                run.log_artifact(artifact)
        finally:
            run.finish(exit_code=0 if record.status in ("ok", "skipped") else 1)

    def close(self) -> None:
        """See `Log.close`: a run is written when it is finished."""


class TensorboardLog:
    """Folders of TensorBoard, ``<track>/<task>/<row>/seed-<seed>``, so that its tree is that of a board."""

    def __init__(self) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter
        self._folder = Path(os.environ.get("TENSORBOARD_LOGGING_DIR", "runs")).absolute()

    def cell(self, record: Record) -> None:
        """See `Log.cell`."""
        c = record.cell
        place = self._folder / c["track"] / c["task"] / c["row"].replace("/", "-") / f"seed-{c['seed']}"
        with self._writer(str(place), write_to_disk=True) as writer:
            for step, numbers in points_of(record):
                for k, v in numbers.items():
                    writer.add_scalar(k, v, step)
            for k, v in scores_of(record).items():
                writer.add_scalar(k, v, 0)
            lines = (f"    {line}" for line in text_of(record).splitlines())  # Markdown: as it stands
            writer.add_text("record", "\n".join(lines), 0)
            writer.add_text("settings", json.dumps(settings_of(record), default=str), 0)

    def close(self) -> None:
        """See `Log.close`: every folder is written when it is made."""


#: Name -> what makes the log, and the extra that its client is in.
LOGS: Mapping[str, tuple[Callable[[], Log], str]] = {
    "mlflow": (MlflowLog, "mlflow"),
    "wandb": (WandbLog, "wandb"),
    "tensorboard": (TensorboardLog, "tensorboard"),
}


def opened(name: str) -> Log:
    """The log of that name.

    Raises:
        BenchError: its client is not installed, or cannot be started.
    """
    make, extra = LOGS[name]
    try:
        return make()
    except ImportError as e:
        raise BenchError(f"--log {name}: {e}: pip install 'gridbench[{extra}]'") from e
    # A client may raise what it likes: of an address, a login, a folder. Nothing has run yet.
    except Exception as e:
        raise BenchError(f"--log {name}: cannot be started: {type(e).__name__}: {e}") from e


class LogWriter:
    """Hands cells that have ended to logs, from a thread of its own. ``problems``: log -> its last fault."""

    def __init__(self, logs: Mapping[str, Log], store: Store) -> None:
        self.problems: dict[str, str] = {}
        self._logs, self._store, self._seen = logs, store, 0
        self._keys: queue.Queue[str | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="logs")

    def __call__(self, sweep: Sweep) -> None:
        """Take the cells that have ended since it was called last."""
        ended, self._seen = sweep.ended[self._seen :], len(sweep.ended)
        for e in ended:
            if e.unit.job.kind == "cell" and not e.elsewhere:  # its own driver logs that one
                self._keys.put(e.unit.key)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left."""
        self._keys.put(None)
        self._thread.join()
        for name, log in self._logs.items():
            self._try(name, log.close)

    def _work(self) -> None:
        while (key := self._keys.get()) is not None:
            try:
                record = self._store.read(key)
            except BenchError as e:
                self.problems |= dict.fromkeys(self._logs, f"{key}: {e}")
                continue
            for name, log in self._logs.items():
                if record is not None:
                    self._try(name, lambda log=log, record=record: log.cell(record))  # type: ignore[misc]

    def _try(self, name: str, do: Callable[[], None]) -> None:
        # Whatever a client raises, the cell has run and its record is written.
        try:
            do()
        except Exception as e:
            self.problems[name] = f"{type(e).__name__}: {e}".partition("\n")[0][:300]


@contextmanager
def logging_to(logs: Mapping[str, Log], store: Store) -> Iterator[LogWriter]:
    """A writer to these logs that runs as long as the block does; what has ended by then is written."""
    writer = LogWriter(logs, store)
    writer.start()
    try:
        yield writer
    finally:
        writer.close()
