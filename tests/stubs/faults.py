"""A track whose methods end in every way a cell can end. Nothing heavy: a cell takes milliseconds."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.contract import AnswerError, Metric, Needs, Score, Task, Track, method


@dataclass(frozen=True)
class Grid:
    sizes: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Run:
    seconds: float = 0.0
    flag: str = ""


class Faults(Track):
    name = "faults"
    metrics = (Metric(name="value", better="higher"), Metric(name="size", better="neither", kind="cost"))
    reference = "fine"
    Grid, Run = Grid, Run

    def tasks(self, grid):
        return [Task(name=f"size-{n}", params={"size": n}) for n in grid.sizes]

    def load(self, task, run, inputs):
        return {"size": task.params["size"], "seconds": run.seconds, "flag": run.flag}

    def truth(self, task, run, inputs):
        return 1.0

    def score(self, task, answer, truth, history):
        if not isinstance(answer, float | int):
            raise AnswerError(f"expected a number, found {type(answer).__name__}")
        return Score(metrics={"value": answer * truth, "size": float(task.params["size"])})

    def smoke(self):
        return Grid(), Run()


TRACK = Faults()
short = Needs(minutes=0.02, mem_gb=1)


@method("faults", name="Fine", hp={"shift": 0.0})
def fine(data, hp, ctx):
    time.sleep(data["seconds"])
    return data["size"] + ctx.seed / 10 + hp["shift"]


@method("faults", name="Raises")
def raises(data, hp, ctx):
    print("last words before the end")
    raise ValueError("this <b>method</b> is broken")


@method("faults", name="Hangs", needs=short)
def hangs(data, hp, ctx):
    time.sleep(600)


@method("faults", name="Hangs in a child", needs=short)
def hangs_below(data, hp, ctx):
    subprocess.run([sys.executable, "-c", "import time; time.sleep(600)", data["flag"]], check=True)


@method("faults", name="Eats memory", needs=Needs(minutes=1, mem_gb=0.5))
def eats(data, hp, ctx):
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)) * 8)
        time.sleep(0.02)  # slowly, so that even a late look finds it before the machine is full


@method("faults", name="Out of memory, with a fallback", hp={"batch": 8}, fallback={"batch": 2})
def retreats(data, hp, ctx):
    if hp["batch"] > 4:
        raise MemoryError("batch too large")
    return float(hp["batch"])


@method("faults", name="Killed")
def killed(data, hp, ctx):
    os.kill(os.getpid(), signal.SIGKILL)


@method("faults", name="Crashes")
def crashes(data, hp, ctx):
    os.kill(os.getpid(), signal.SIGSEGV)


@method("faults", name="Leaves")
def leaves(data, hp, ctx):
    os._exit(3)


@method("faults", name="Not a number")
def nan(data, hp, ctx):
    return float("nan")


@method("faults", name="Not for this", skip=lambda task, run, hp: "cannot do this size")
def unfit(data, hp, ctx):
    raise AssertionError("never called")


@method("faults", name="Deterministic", deterministic=True)
def fixed(data, hp, ctx):
    return 0.5


@method("faults", name="Infinite")
def infinite(data, hp, ctx):
    for i, loss in enumerate((1.0, float("inf"), float("nan"))):
        ctx.report(step=i, loss=loss)
    return float("inf")


@method("faults", name="Out of memory, and no way back")
def memory(data, hp, ctx):
    raise MemoryError("cannot allocate the table")


@method("faults", name="Wrong shape")
def shapeless(data, hp, ctx):
    return "not a number"


@method("faults", name="Looks around")
def looks(data, hp, ctx):
    """Prints what a method can see of where it runs."""
    Path("left-behind.txt").write_text("in the work folder")
    Path.home().joinpath(".cache").mkdir()
    print("workdir", ctx.workdir, Path.cwd() == ctx.workdir)
    print("home", Path.home())
    print("tmp", os.environ["TMPDIR"])
    print("threads", os.environ["OMP_NUM_THREADS"])
    print("names", sorted(n for n in dir(ctx) if not n.startswith("_")))
    sys.stderr.write("on stderr\n")
    ctx.log.info("through the log")
    return 1.0
