"""Every status, provoked for real; and what its record says. Locally; on Ray in test_engine_ray.py."""

import os
import signal

import psutil
import pytest
from polling import BOUND_S, beside, wait_for

#: Row -> (status, attempts, a part of the reason or of the error's message), for the whole faults stub.
ENDS = {
    "fine": ("ok", 1, ""),
    "raises": ("failed", 1, "ValueError: this <b>method</b> is broken"),
    "shapeless": ("failed", 1, "AnswerError: expected a number, found str"),
    "crashes": ("failed", 1, "crashed with SIGSEGV"),
    "leaves": ("failed", 1, "left with exit code 3 and no answer"),
    "hangs": ("timeout", 1, "run took more than 0.02 minutes"),
    "hangs-below": ("timeout", 1, "run took more than 0.02 minutes"),
    "eats": ("oom", 1, "over its limit of 0.5 GB"),
    "memory": ("oom", 1, "MemoryError: cannot allocate the table"),
    "retreats": ("ok", 2, ""),
    "killed": ("lost", 3, "killed from outside by SIGKILL"),
    "nan": ("diverged", 1, "value is nan"),
    "infinite": ("diverged", 1, "value is inf"),
    "unfit": ("skipped", 1, "cannot do this size"),
    "fixed": ("ok", 1, ""),
}


def check_ends(records):
    """That the records of the faults stub say what `ENDS` says; shared with the test on Ray."""
    for row, (status, attempts, said) in ENDS.items():
        r = records[row]
        words = f"{r.error.get('type')}: {r.error.get('message')} {r.reason}"
        assert (r.status, r.attempts) == (status, attempts), (row, r)
        assert said in words, (row, words)
        assert r.started <= r.ended
        assert r.limits["minutes"] > 0
        if status == "skipped":
            continue
        assert r.limits["mem_gb"] > 0
        assert r.provenance["code"].startswith("sha256-"), row
        assert r.where["threads"] == 1
        assert r.where["host"]
        assert (r.metrics.get("value") is not None) == (status == "ok"), row
        if status in ("failed", "oom", "timeout", "lost"):
            assert isinstance(r.error["last_lines"], list)
    assert "last words before the end" in records["raises"].log
    assert any("ValueError" in line for line in records["raises"].error["last_lines"])
    assert any("raise ValueError" in line for line in records["raises"].error["last_lines"])
    assert records["retreats"].marks == ["fallback: batch=2"]
    assert records["retreats"].metrics["value"] == 2.0
    assert records["retreats"].cell["hp"] == {"batch": 8}, "the cell is the one that was asked for"
    assert 400 < records["eats"].cost["peak_mem_mb"] < 16_000
    assert 1.0 < records["hangs"].cost["run_s"] < 600
    assert records["infinite"].curve[-1]["step"] == 2.0
    assert records["infinite"].curve[-1]["loss"] is None, "JSON has no NaN; a record has to be JSON"


def left_over(flag):
    """Processes that the hanging methods of a sandbox started; they name its flag."""
    words = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return [w for w in words if flag in w]


def test_every_status_with_its_reason_limits_and_last_lines(ended_here):
    check_ends(ended_here.by_row())
    flag = str(ended_here.folder / "flag")
    assert left_over(flag) == [], "a grandchild that hangs is ended with its cell"
    states = {c.row: c.state for c in ended_here.plan(*ENDS).cells}
    assert {r for r, s in states.items() if s == "new"} == {"killed"}, "only what was lost is tried again"
    assert {r for r, s in states.items() if s == "done"} == {"fine", "retreats", "fixed", "unfit"}
    assert not list((ended_here.store_folder / "checkpoints").glob("*/*"))


def hold(sandbox, *, cells=1, minutes=10.0):
    """Cells that wait until the file ``go`` is there, and say in ``log`` which process they are."""
    run = {"seconds": 0.0, "log": str(sandbox.folder / "log"), "until": str(sandbox.folder / "go")}
    sandbox.of("slow", grid={"cells": cells}, run=run, needs={"sleeps": {"minutes": minutes}})


def begun(sandbox):
    """The processes in which cells began, in the order of their beginning."""
    log = sandbox.folder / "log"
    lines = [x.split() for x in log.read_text().splitlines()] if log.exists() else []
    return [int(pid) for word, _, pid in lines if word == "start"]


def test_a_cell_killed_by_somebody_is_retried_and_a_terminated_one_too(sandbox):
    hold(sandbox.use("slow"))

    def kill_twice():
        try:
            for attempt, number in enumerate((signal.SIGKILL, signal.SIGTERM)):
                os.kill(wait_for(lambda n=attempt: begun(sandbox)[n:])[0], number)
            wait_for(lambda: begun(sandbox)[2:])
        finally:
            (sandbox.folder / "go").touch()

    with beside(kill_twice):
        sandbox.run("sleeps")
    record = sandbox.by_row()["sleeps"]
    assert len(begun(sandbox)) == 3
    assert (record.status, record.attempts, record.metrics["value"]) == ("ok", 3, 0.0)


@pytest.mark.slow
def test_cells_whose_fork_server_is_killed_are_all_retried(sandbox):
    """The first of them starts the next server before the others have looked. No cell can end before the
    server and its cells are gone, however slow the machine is: they wait for a file."""
    hold(sandbox.use("slow"), cells=3)

    def kill_server():
        try:
            cells = [psutil.Process(pid) for pid in wait_for(lambda: begun(sandbox)[2:] and begun(sandbox))]
            cells[0].parent().kill()
            assert psutil.wait_procs(cells, timeout=BOUND_S)[1] == []
        finally:
            (
                sandbox.folder / "go"
            ).touch()  # cells that were never killed end too: the test fails, no hanging

    with beside(kill_server):
        sandbox.run(cpus=3)
    assert {(r.status, r.attempts) for r in sandbox.records()} == {("ok", 2)}, [
        r.error for r in sandbox.records()
    ]


def test_a_lower_limit_ends_a_cell_and_a_higher_one_makes_it_new_again(sandbox):
    hold(sandbox.use("slow"), minutes=0.005)
    sandbox.run("sleeps")
    assert sandbox.by_row()["sleeps"].status == "timeout"
    assert [c.state for c in sandbox.plan("sleeps").cells] == ["failed"]
    hold(sandbox, minutes=0.004)
    assert [c.state for c in sandbox.plan("sleeps").cells] == ["failed"], "a lower limit promises nothing"
    hold(sandbox)
    assert [c.state for c in sandbox.plan("sleeps").cells] == ["new"]
    (sandbox.folder / "go").touch()
    sandbox.run("sleeps")
    assert [c.state for c in sandbox.plan("sleeps").cells] == ["done"]


STAGED = """
from dataclasses import dataclass
from pathlib import Path
from bench.contract import Metric, Score, Stage, Task, Track, method

@dataclass(frozen=True)
class Grid: pass

@dataclass(frozen=True)
class Run:
    flag: str = ""

def build(ctx):
    if not Path(ctx.params["flag"]).exists():
        raise RuntimeError("no flag, no stage")
    (ctx.outdir / "file").write_text("built")

def build_next(ctx):
    (ctx.outdir / "file").write_text((ctx.stage("first") / "file").read_text())

def stages(task, run):
    first = Stage(name="first", build=build, params={"flag": run.flag})
    return [Stage(name="second", build=build_next, stages=(first,))]

class T(Track):
    name = "staged"
    metrics = (Metric(name="value", better="higher"),)
    reference = "reads"
    Grid, Run = Grid, Run
    def tasks(self, grid): return [Task(name="one")]
    def load(self, task, run, inputs): return None
    def truth(self, task, run, inputs): return 1.0
    def score(self, task, answer, truth, history): return Score(metrics={"value": answer})
    def smoke(self): return Grid(), Run()

TRACK = T()

@method("staged", name="Reads", stages=stages)
def reads(data, hp, ctx):
    assert (ctx.stage("second") / "file").read_text() == "built"
    return 1.0

@method("staged", name="Asks for more", stages=stages)
def more(data, hp, ctx):
    ctx.stage("seconds")

@method("staged", name="Needs none")
def alone(data, hp, ctx):
    return 2.0
"""


def test_a_failed_stage_skips_its_readers_until_it_works(sandbox):
    plugin = sandbox.folder / "staged.py"
    plugin.write_text(STAGED)
    sandbox.plugins.append(str(plugin))
    flag = sandbox.folder / "flag"
    sandbox.of("staged", run={"flag": str(flag)})
    sandbox.run()
    records = sandbox.by_row()
    assert records["stage:first"].status == "failed"
    assert records["stage:first"].error["message"] == "no flag, no stage"
    assert records["stage:second"].status == "skipped"
    assert records["reads"].status == "skipped"
    assert records["reads"].reason == "stage first failed", (
        "the one that failed, not the one that could not start"
    )
    assert records["alone"].status == "ok"
    assert {c.row: c.state for c in sandbox.plan().cells} == {
        "reads": "failed",
        "more": "failed",
        "alone": "done",
    }
    assert sandbox.run().ended == [], "what a failed stage holds back is not tried again by itself"
    flag.touch()
    sandbox.run(failed=True)
    records = sandbox.by_row()
    assert records["reads"].status == "ok"
    assert records["reads"].provenance["stages"].keys() == {"first", "second"}
    assert records["more"].status == "failed"
    assert "did you mean 'second'?" in records["more"].error["message"]


def test_a_fixed_stage_makes_its_readers_new(sandbox):
    plugin = sandbox.folder / "staged.py"
    plugin.write_text(STAGED)
    sandbox.plugins.append(str(plugin))
    sandbox.of("staged", run={"flag": str(sandbox.folder / "flag")})
    sandbox.run("reads")
    plugin.write_text(STAGED.replace('raise RuntimeError("no flag, no stage")', "pass"))
    plan = sandbox.plan("reads")
    assert [c.state for c in plan.cells] == ["new"]
    assert {s.stage.name: s.state for s in plan.stages.values()} == {"first": "new", "second": "new"}
    sandbox.run("reads")
    assert sandbox.by_row()["reads"].status == "ok"


SCORED = """
import numpy as np
from bench.contract import Score, Units, method
from bench.contract import Metric, Task, Track
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings: pass

class T(Track):
    name = "scored"
    metrics = (Metric(name="value", better="higher"),)
    reference = "good"
    Grid, Run = Settings, Settings
    def tasks(self, grid): return [Task(name="one")]
    def load(self, task, run, inputs): return None
    def truth(self, task, run, inputs): return 1.0
    def score(self, task, answer, truth, history): return answer
    def smoke(self): return Settings(), Settings()

TRACK = T()
"""
ANSWERS = {
    "good": ("{'value': 1.0}", ""),
    "unknown": ("{'value': 1.0, 'valu': 2.0}", "which it does not declare"),
    "missing": ("{}", "the ranking metric 'value' has no value"),
    "twice": (
        "{'value': 1.0}, units={'value': Units(np.array([1, 1]), np.array([0.5, 0.5]))}",
        "ids unique",
    ),
    "picture": ("{'value': 1.0}, views={'v': np.zeros((4, 4))}", "expected uint8"),
}


def test_a_score_that_cannot_be_kept_fails_its_cell_and_not_the_sweep(sandbox):
    text = SCORED
    for name, (score, _) in ANSWERS.items():
        text += f"\n@method('scored', name='{name}')\ndef {name}(data, hp, ctx):\n    return Score({score})\n"
    (sandbox.folder / "scored.py").write_text(text)
    sandbox.plugins.append(str(sandbox.folder / "scored.py"))
    sandbox.of("scored")
    sweep = sandbox.run()
    assert not sweep.stopped
    records = sandbox.by_row()
    for name, (_, said) in ANSWERS.items():
        assert records[name].status == ("failed" if said else "ok"), name
        assert said in records[name].error.get("message", ""), name
