"""The GPUs of this machine while cells of this process run on them: how many share one, how busy it is.

Several processes of a user may run cells on one GPU: two drivers, or a driver and a node of a cluster. Each
keeps a locked file for each of its cells in a folder of the machine, so that all of them are counted,
whatever store they write to. What other users and other programs do there is not seen.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

#: Seconds between two looks at how busy the GPUs are.
EVERY_S = 2.0
#: How many looks it takes to know.
LOOKS = 5


@dataclass(slots=True, eq=False)
class Use:
    """What was seen of the GPUs of one cell while it ran. ``shared``: the most cells that ran on them at a
    time, this one among them; ``looks``: the share of time in which its GPUs computed, at each look.
    """

    gpus: frozenset[str]
    shared: int = 1
    looks: list[float] = field(default_factory=list)
    _started: float | None = None
    _counted: float = 0.0
    _until: float = 0.0
    _now: int = 1

    def count(self, cells: int) -> None:
        """From now on so many cells run on its GPUs."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        else:
            self._counted += self._now * (now - self._until)
        self._until, self._now, self.shared = now, cells, max(self.shared, cells)

    @property
    def mean_shared(self) -> float:
        """How many cells ran on them on average, until the last count."""
        took = self._until - (self._started or 0.0)
        return self._counted / took if took > 0 else float(self.shared)

    @property
    def busy(self) -> float | None:
        """The share of time in which its GPUs computed, None if that is not known."""
        return sum(self.looks) / len(self.looks) if len(self.looks) >= LOOKS else None


class Neighbours:
    """The cells of other processes on the GPUs of this machine.

    A cell has a file ``<GPU>.<process>-<number>`` for each of its GPUs, and its process locks it, so that the
    file of a process that has died is told from the others. A cell that begins writes into the files of the
    others how many there are now, one byte, so that these know of it even if it ends at once.

    Args:
        folder: where all processes of this user on this machine keep them.
        names: says the UUID of each GPU, by its index and by itself. An index alone would not do: in two
            batch jobs of one machine it may mean two GPUs.
    """

    def __init__(self, folder: Path, names: Callable[[], Mapping[str, str]]) -> None:
        self._folder, self._names = folder, names
        self.known = dict[str, str]()  # what ``names`` said
        self._process, self._numbers = secrets.token_hex(8), count()

    def _uuids(self, gpus: Collection[str]) -> set[str]:
        """The UUIDs of GPUs, which may be named by the start of theirs, as far as they are known."""
        known = self.known.items()
        return {u for g in gpus for k, u in known if k == g or (g.startswith("GPU-") and k.startswith(g))}

    @contextmanager
    def told(self, gpus: Collection[str]) -> Iterator[Callable[[], int]]:
        """Other processes see that a cell of this one runs on these GPUs. Where no file can be made for that,
        the cell runs all the same. It is given what says how many were there when one of others began.
        """
        if gpus and not self.known:
            self.known = {k: re.sub(r"[^A-Za-z0-9-]", "_", v) for k, v in self._names().items()}
        with ExitStack() as stack:
            cell, files = f"{self._process}-{next(self._numbers)}", list[int]()
            for uuid in self._uuids(gpus):
                with suppress(OSError):
                    files.append(stack.enter_context(self._file(f"{uuid}.{cell}")))
            self._tell(gpus)
            yield lambda: max((n for f in files for n in os.pread(f, os.fstat(f).st_size, 0)), default=0)

    @contextmanager
    def _file(self, name: str) -> Iterator[int]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f".{name}"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            path = path.rename(self._folder / name)  # nobody sees it before it is locked
            yield file
        finally:
            path.unlink(missing_ok=True)
            os.close(file)

    def _tell(self, gpus: Collection[str]) -> None:
        for uuid in self._uuids(gpus):
            cells = self._cells({uuid})
            for cell in cells:
                with suppress(OSError):
                    if not cell.startswith(self._process):
                        with open(self._folder / f"{uuid}.{cell}", "ab", opener=_open_there) as file:
                            file.write(bytes([min(len(cells), 255)]))

    def on(self, gpus: Collection[str]) -> int:
        """How many cells of other processes run on at least one of these GPUs."""
        cells = self._cells(self._uuids(gpus))
        return sum(not cell.startswith(self._process) for cell in cells)

    def _cells(self, uuids: Collection[str]) -> set[str]:
        """The cells that run on at least one of these GPUs, those of this process among them."""
        found = set[str]()
        with suppress(OSError):
            for name in os.listdir(self._folder) if uuids else ():
                uuid, _, cell = name.rpartition(".")
                if uuid in uuids and _locked(self._folder / name):
                    found.add(cell)
        return found


def _open_there(path: str, flags: int) -> int:
    """Open a file that is there, and no link."""
    return os.open(path, (flags | os.O_NOFOLLOW | os.O_CLOEXEC) & ~os.O_CREAT)


def _locked(path: Path) -> bool:
    """Whether a process that lives holds that file; it is removed if none does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False  # its cell has ended
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    path.unlink(missing_ok=True)
    return False


class Gpus:
    """Watches the GPUs that cells use. ``ask`` says how busy each GPU is, by its index and by its UUID;
    ``neighbours`` are the cells of other processes.
    """

    def __init__(self, ask: Callable[[], Mapping[str, float]], neighbours: Neighbours) -> None:
        self._ask, self._neighbours, self._lock = ask, neighbours, threading.Lock()
        self._uses, self._watching = list[Use](), False

    @contextmanager
    def used(self, visible: str | None) -> Iterator[Use]:
        """A cell runs, on the GPUs that ``CUDA_VISIBLE_DEVICES`` names (None: on none)."""
        use = Use(frozenset(v.strip() for v in (visible or "").split(",") if v.strip()))
        with self._neighbours.told(use.gpus) as most:
            with self._lock:
                self._uses.append(use)
                self._count()
                if use.gpus and not self._watching:
                    self._watching = True
                    threading.Thread(target=self._watch, daemon=True, name="gpus").start()
            try:
                yield use
            finally:
                with self._lock:
                    self._count()
                    use.shared = max(use.shared, most())
                    self._uses.remove(use)
                    self._count()

    def _count(self) -> None:
        for u in self._uses:
            ours = sum(bool(u.gpus & other.gpus) for other in self._uses)
            u.count(max(1, ours + self._neighbours.on(u.gpus)))

    def _watch(self) -> None:
        while True:
            busy = self._ask()
            with self._lock:
                used = [u for u in self._uses if u.gpus]
                for u in used:
                    if u.gpus <= busy.keys():
                        u.looks.append(sum(busy[g] for g in u.gpus) / len(u.gpus))
                self._count()
                if not used or not (busy or self._neighbours.known):
                    self._watching = False
                    return
            time.sleep(EVERY_S)


def ask_nvidia() -> dict[str, float]:
    """The share of time in which each GPU computed of late, by its index and by its UUID; empty if that
    cannot be told here.
    """
    found = {}
    for index, uuid, percent in _listed("utilization.gpu"):
        if percent.isdigit():  # a part of a GPU (MIG) has none
            found[index] = found[uuid] = int(percent) / 100
    return found


def uuids() -> dict[str, str]:
    """The UUID of each GPU, by its index and by itself; empty if that cannot be told here."""
    return {name: uuid for index, uuid, _ in _listed("name") for name in (index, uuid)}


def _listed(field_: str) -> list[list[str]]:
    """Index, UUID and one more field of each GPU, by nvidia-smi; empty if that cannot be told here."""
    if shutil.which("nvidia-smi") is None:
        return []
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            ["nvidia-smi", f"--query-gpu=index,uuid,{field_}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        lines = [line.split(",", 2) for line in listed.stdout.splitlines()]
        return [[part.strip() for part in line] for line in lines if len(line) == 3]
    return []


def of_this_machine() -> Gpus:
    """The GPUs of this machine, with the cells of all processes of this user."""
    # Whatever a terminal or a batch job names as its own folder for temporary files.
    return Gpus(ask_nvidia, Neighbours(Path(f"/tmp/bench-gpus-{os.getuid()}"), uuids))
