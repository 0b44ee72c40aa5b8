"""Finds, measures and ends processes: all that a cell started, in whatever session or process group it is.

A *child subreaper* (``prctl(2)``) becomes the parent of all processes below it whose own parent has ended;
else that would be init, where nothing says any more whose they were. Every cell is one, so that what it
started is below it as long as it lives. So is the fork server (`served.py`): a child of it that is no running
cell was left behind by one that is over. A cgroup would do the same, but in most containers and batch jobs
nobody may make one.

A fork server that is itself killed by SIGKILL ends nothing any more: its cells go with it (the kernel sees
to that), and so does what they had started when the driver last looked, a tenth of a second before; a process
in a session of its own that was started since stays.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: A process that hangs in the kernel (its network disk is gone) cannot be ended: so long it is waited for.
END_WITHIN_S = 10.0


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(n) for n in (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def adopt() -> None:
    """Become the parent of all processes below this one whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that happens."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def below(pid: int, but: Collection[int] = ()) -> list[int]:
    """All processes below one, without those of ``but`` and what is below them. Each thread has a list of its
    own of the children that it started.
    """
    found, todo = list[int](), [pid]
    while todo:
        p = todo.pop()
        try:
            threads = os.listdir(f"/proc/{p}/task")
        except OSError:  # it has ended
            continue
        for t in threads:
            with suppress(OSError), open(f"/proc/{p}/task/{t}/children", encoding="ascii") as f:
                new = [c for c in map(int, f.read().split()) if c not in but]
                found += new
                todo += new
    return found


def end_below(pid: int, but: Collection[int] = ()) -> list[int]:
    """End all processes below one, except those of ``but`` and what is below them; what cannot be ended is
    returned.

    A process that ends during a look hands its children to a subreaper above it, whose own were perhaps read
    before. So a look is the last one only if all that it found had ended before it began.
    """
    ended, until = set[int](), time.monotonic() + END_WITHIN_S
    while left := [p for p in below(pid, but) if p not in ended]:
        if time.monotonic() > until:
            return [p for p in left if not _has_ended(p)]
        for p in left:
            if _has_ended(p):
                ended.add(p)
            else:
                send(p, signal.SIGKILL)
        time.sleep(0.001)
    return []


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there and ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on (``proc_pid_stat(5)``, the third field)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rpartition(")")[2].split()


def _has_ended(pid: int) -> bool:
    """Whether a process is gone or a zombie, and not only its first thread is."""
    try:
        stat = _stat(pid)
    except OSError:
        return True
    return stat[0] in "ZX" and int(stat[17]) <= 1


def started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks: together with its number, that names it for ever."""
    try:
        return int(_stat(pid)[19])
    except OSError:
        return None


def mb(pids: Iterable[int], read: Callable[[int], int]) -> float:
    """Sum of a size (kB) over processes, in MB; what is gone counts 0."""
    total = 0
    for p in pids:
        with suppress(OSError, StopIteration):  # it ended while being looked at
            total += read(p)
    return total / 1024


def pss_kb(pid: int) -> int:
    """Proportional set size: shared pages are divided among those who share them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def rss_kb(pid: int) -> int:
    """Resident set size."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
