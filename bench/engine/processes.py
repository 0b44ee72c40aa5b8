"""Finds, measures and ends all processes that a cell started, whatever their session or process group.

A *child subreaper* (``prctl(2)``) becomes the parent of its descendants whose own parent has ended; without
one that would be init, and it would be lost which cell they belong to. Every cell is a subreaper, so all
processes that it started are its descendants as long as it runs. So is the fork server
(`forkserver_init.py`): a child of it that is no running cell was left behind by a cell that has ended. A
cgroup would do the same, but most containers and batch jobs may not make one.

A fork server that is killed by SIGKILL ends no processes. The kernel then ends its cells, and the driver the
processes that it last saw below them, at most a tenth of a second before; a process that was started since,
in a session of its own, survives.
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
#: How long to wait for a process to end; one that hangs in the kernel (its network disk is gone) cannot be
#: ended.
END_WITHIN_S = 10.0


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(n) for n in (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def adopt() -> None:
    """Make this process a child subreaper: the parent of its descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that happens."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def descendants(pid: int, but: Collection[int] = ()) -> list[int]:
    """All descendants of a process, without those in ``but`` and their descendants. Each thread of a process
    has its own list of the children that it started.
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


def end_descendants(pid: int, but: Collection[int] = ()) -> list[int]:
    """Kill all descendants of a process, except those in ``but`` and their descendants; returns the pids of
    those that cannot be ended.

    When a process ends while the descendants are listed, its children move to a subreaper whose list was
    perhaps read before. So the listing is repeated until all that it finds had ended before it began.
    """
    ended, until = set[int](), time.monotonic() + END_WITHIN_S
    while left := [p for p in descendants(pid, but) if p not in ended]:
        if time.monotonic() > until:
            return [p for p in left if not has_ended(p)]
        for p in left:
            if has_ended(p):
                ended.add(p)
            else:
                send(p, signal.SIGKILL)
        time.sleep(0.001)
    return []


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it exists and is ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the third one, the state, on (see ``proc_pid_stat(5)``)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return f.read().rpartition(")")[2].split()


def has_ended(pid: int) -> bool:
    """Whether a process does not exist or is a zombie with all its threads."""
    try:
        stat = _stat(pid)
    except OSError:
        return True
    return stat[0] in "ZX" and int(stat[17]) <= 1


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; with the pid it identifies a process. None: it is
    gone.
    """
    try:
        return int(_stat(pid)[19])
    except OSError:
        return None


def mb(pids: Iterable[int], read: Callable[[int], int]) -> float:
    """Sum of a size (kB) over processes, in MB; a process that is gone counts 0."""
    total = 0
    for p in pids:
        with suppress(OSError, StopIteration):  # it ended meanwhile
            total += read(p)
    return total / 1024


def pss_kb(pid: int) -> int:
    """Proportional set size in kB: a page that n processes share counts 1/n in each."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


def rss_kb(pid: int) -> int:
    """Resident set size in kB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
