"""Methods that leave things behind, or take them away: processes, threads, folders, words without end."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contract import Metric, Needs, Score, Task, Track, method


@dataclass(frozen=True)
class Grid:
    pass


@dataclass(frozen=True)
class Run:
    flag: str = ""


class Leaves(Track):
    name = "leaves"
    metrics = (Metric(name="value", better="higher"),)
    reference = "plain"
    Grid, Run = Grid, Run

    def tasks(self, grid):
        return [Task(name="one")]

    def load(self, task, run, inputs):
        return run.flag

    def truth(self, task, run, inputs):
        return 1.0

    def score(self, task, answer, truth, history):
        return Score(metrics={"value": answer})

    def smoke(self):
        return Grid(), Run()


TRACK = Leaves()
long = Needs(minutes=5)


def row(function, needs=long):
    method("leaves", name=function.__name__, needs=needs)(function)
    return function


@row
def plain(flag, hp, ctx):
    return 1.0


# ------------------------------------------------------------------------------------------------- processes


def away(flag, code=""):
    """A daemon: a process in a session of its own, whose parent has ended. Back when it has said its number,
    in a file of this cell's.
    """
    said = Path(f"{flag}.{os.getpid()}")
    says = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        f"open({str(said)!r}, 'w').write(f'{{os.getpid()}} ')\n"
        f"{code}\n"
        "time.sleep(600)\n"
    )
    subprocess.Popen([sys.executable, "-c", says], start_new_session=True)
    while not said.exists() or not said.read_text().endswith(" "):
        time.sleep(0.01)


@row
def away_and_ok(flag, hp, ctx):
    away(flag)
    return 1.0


@row
def away_from_a_thread(flag, hp, ctx):
    """The kernel keeps a list of children for each thread."""
    thread = threading.Thread(target=away, args=(flag,))
    thread.start()
    thread.join()
    forever = threading.Thread(target=lambda: (subprocess.Popen(["sleep", "600"]), time.sleep(600)))
    forever.daemon = True
    forever.start()
    return 1.0


@row
def away_and_raises(flag, hp, ctx):
    away(flag)
    raise ValueError("after all")


@row
def away_and_leaves(flag, hp, ctx):
    away(flag)
    os._exit(3)


@row
def away_and_crashes(flag, hp, ctx):
    away(flag)
    os.kill(os.getpid(), signal.SIGSEGV)


def away_and_hangs(flag, hp, ctx):
    away(flag)
    time.sleep(600)


row(away_and_hangs, Needs(minutes=0.03))


def away_and_eats(flag, hp, ctx):
    """Memory that only the process far away uses."""
    away(flag, code="kept = os.urandom(1 << 20) * 900")
    time.sleep(600)


row(away_and_eats, Needs(minutes=5, mem_gb=0.8))


@row
def away_and_waits(flag, hp, ctx):
    away(flag)
    Path(flag).with_name("waits").write_text(f"{os.getpid()} ")
    time.sleep(600)


@row
def returns_twice(flag, hp, ctx):
    """A forked copy of the method that returns too."""
    if os.fork() == 0:
        return 7.0
    time.sleep(0.2)
    return 1.0


# --------------------------------------------------------------------------------------------------- threads


def live_thread():
    threading.Thread(target=time.sleep, args=(600,)).start()


class NotAnException(BaseException):
    pass


@row
def thread_and_returns(flag, hp, ctx):
    live_thread()
    return 1.0


@row
def thread_and_exits(flag, hp, ctx):
    live_thread()
    print("words before the exit", end="")
    sys.exit("no use going on")


@row
def thread_and_interrupts(flag, hp, ctx):
    live_thread()
    raise KeyboardInterrupt


@row
def thread_and_ends(flag, hp, ctx):
    live_thread()
    raise NotAnException("of another kind")


@row
def thread_and_raises(flag, hp, ctx):
    live_thread()
    raise ValueError("as usual")


# --------------------------------------------------------------------------------------------------- folders


@row
def without_workdir(flag, hp, ctx):
    shutil.rmtree(ctx.workdir)
    return 1.0


@row
def without_folder(flag, hp, ctx):
    shutil.rmtree(ctx.workdir.parent)
    return 1.0


@row
def other_folder(flag, hp, ctx):
    """The log is a folder now, and the folder of the cell cannot be made again."""
    shutil.rmtree(ctx.workdir.parent)
    ctx.workdir.parent.write_text("a file is in the way")
    return 1.0


@row
def other_log(flag, hp, ctx):
    print("said before")
    sys.stdout.flush()
    (ctx.workdir.parent / "log.txt").unlink()
    os.mkfifo(ctx.workdir.parent / "log.txt")
    return 1.0


@row
def temporary_files(flag, hp, ctx):
    place = tempfile.mkdtemp()
    assert ctx.workdir.parent in Path(place).parents, place
    return 1.0


@row
def raises_without_folder(flag, hp, ctx):
    shutil.rmtree(ctx.workdir.parent)
    raise ValueError("where am I?")


@row
def looks_without_workdir(flag, hp, ctx):
    shutil.rmtree(ctx.workdir)
    ctx.snapshot(1, 0.5)
    return 1.0


# ----------------------------------------------------------------------------------------------------- words

NAME = os.fsdecode(b"caf\xe9.jpg")


@row
def says_no_utf8(flag, hp, ctx):
    print("reading", NAME)
    ctx.log.info("reading %s", NAME)
    ctx.report(**{NAME: 1.0})
    raise ValueError("no picture " + NAME)


@row
def reports_no_utf8(flag, hp, ctx):
    ctx.report(**{NAME: 1.0})
    return 1.0


@row
def says_much(flag, hp, ctx):
    print("y" * 10_000_000)
    raise type("N" * 1_000_000, (ValueError,), {})("z" * 10_000_000)


@row
def says_many_lines(flag, hp, ctx):
    raise ValueError("z\n" * 1_000_000)


@row
def cannot_say(flag, hp, ctx):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    raise Silent


@row
def closes_its_output(flag, hp, ctx):
    sys.stdout.close()
    sys.stderr = None
    return 1.0


@row
def reports_much(flag, hp, ctx):
    for i in range(100_000):
        ctx.report(step=i)
    return 1.0


@row
def reports_wide(flag, hp, ctx):
    ctx.report(**{f"layer {i}": i for i in range(5000)})
    return 1.0


def reports_forever(flag, hp, ctx):
    while True:
        ctx.report(step=1)
        ctx.send("phase", "run")


row(reports_forever, Needs(minutes=0.02))
