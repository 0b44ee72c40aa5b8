"""Several drivers on one store: every cell and stage is run once, whoever lives or dies. And a store that is
not the driver's: what a worker wrote elsewhere does not count.

Cells wait for files and append a line to a log that all share, so that nothing depends on how fast they are.
"""

import os
import time
from collections import Counter
from dataclasses import replace

import orjson
import psutil
import pytest
from nightly import at_night
from polling import BOUND_S

from bench.cli.sweep import run as sweep_command
from bench.engine import leases
from bench.engine.execute import units
from bench.engine.processes import has_ended
from bench.engine.sweep import Sweep, not_run
from bench.store import provenance

RAY = pytest.param([], id="ray", marks=[pytest.mark.ray, pytest.mark.slow])
LOCAL = pytest.param(["--local"], id="local", marks=pytest.mark.slow)


PLUGIN = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from bench.contract import Metric, Needs, Score, Stage, Task, Track, method

@dataclass(frozen=True)
class Grid:
    cells: int = 4

@dataclass(frozen=True)
class Run:
    folder: str = ""

def say(folder, text):
    file = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text} {os.getpid()}\\n".encode())
    os.close(file)

def wait_for(folder, name):
    while not Path(folder, name).exists():
        time.sleep(0.02)

class Turns(Track):
    name = "turns"
    metrics = (Metric(name="value", better="higher"),)
    reference = "plain"
    Grid, Run = Grid, Run
    def tasks(self, grid): return [Task(name=f"t{i:02}", params={"i": i}) for i in range(grid.cells)]
    def load(self, task, run, inputs): return task.params["i"], run.folder
    def truth(self, task, run, inputs): return 1.0
    def score(self, task, answer, truth, history): return Score(metrics={"value": answer})
    def smoke(self): return Grid(), Run()

TRACK = Turns()

def build(ctx):
    say(ctx.params["folder"], "build shared")
    wait_for(ctx.params["folder"], "stage")
    (ctx.outdir / "file").write_text("built")

@method("turns", name="Plain")
def plain(data, hp, ctx):
    i, folder = data
    say(folder, f"plain {i}")
    wait_for(folder, "go")
    return 1.0

@method("turns", name="Broken")
def broken(data, hp, ctx):
    i, folder = data
    say(folder, f"broken {i}")
    wait_for(folder, "go")
    raise ValueError("broken")

def shared(task, run):
    return [Stage(name="shared", build=build, params={"folder": run.folder})]

@method("turns", name="Staged", stages=shared)
def staged(data, hp, ctx):
    i, folder = data
    say(folder, f"staged {i}")
    return 1.0
"""


@pytest.fixture
def turns(sandbox):
    plugin = sandbox.folder / "turns.py"
    plugin.write_text(PLUGIN)
    sandbox.plugins.append(str(plugin))

    def of(cells):
        sandbox.of("turns", grid={"cells": cells}, run={"folder": str(sandbox.folder)})
        return sandbox

    return of


def said(sandbox):
    """``(what, who)`` -> process numbers, in order."""
    path = sandbox.folder / "log"
    out = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        what, pid = line.rsplit(" ", 1)
        out.setdefault(what, []).append(int(pid))
    return out


def wait_for(what, *processes):
    until = time.monotonic() + BOUND_S
    while not what():
        for p in processes:
            assert p.poll() is None, p.communicate()[0]
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def ended(process):
    out, _ = process.communicate(timeout=BOUND_S)
    return process.returncode, out


# On Ray too, two drivers share a store in the next test.
@pytest.mark.parametrize("how", [LOCAL, at_night(*RAY.values, id="ray", marks=RAY.marks)])
def test_two_drivers_run_every_cell_once(turns, how):
    sandbox = turns(24)
    args = ["-m", "plain", "-m", "broken", "-k", "task=t0*|t10|t11"]
    first = sandbox.start("run", *how, "--cpus", "2", *args)
    wait_for(lambda: len(said(sandbox)) >= 2, first)
    second = sandbox.start("run", "--local", "--cpus", "2", *args)
    wait_for(lambda: len(said(sandbox)) >= 4, first, second)
    (sandbox.folder / "go").touch()
    for process in (first, second):
        code, out = ended(process)
        assert code == 0, out
        assert "24 cells and stages ended" in out, out
        assert "12 ok" in out, out
        assert "12 failed" in out, out
    assert {what: len(pids) for what, pids in said(sandbox).items()} == {
        f"{row} {i}": 1 for row in ("plain", "broken") for i in range(12)
    }
    assert Counter(r.status for r in sandbox.records()) == {"ok": 12, "failed": 12}
    assert not list((sandbox.store_folder / "locks").iterdir()), "locks of ended cells do not stay"
    assert not list((sandbox.store_folder / "tmp").iterdir())


@pytest.mark.parametrize("how", [LOCAL, RAY])
def test_what_a_killed_driver_had_under_way_is_run_by_the_other(turns, how):
    sandbox = turns(10)
    first = sandbox.start("run", *how, "--cpus", "2", "-m", "plain")
    wait_for(lambda: len(said(sandbox)) >= 2, first)
    had = said(sandbox)
    second = sandbox.start("run", "--local", "--cpus", "2", "-m", "plain")
    wait_for(lambda: len(said(sandbox)) >= 4, first, second)
    first.kill()
    ended(first)
    wait_for(lambda: not any(psutil.pid_exists(p) for pids in had.values() for p in pids), second)
    (sandbox.folder / "go").touch()
    code, out = ended(second)
    assert code == 0, out
    assert {r.status for r in sandbox.records()} == {"ok"}
    assert len(sandbox.records()) == 10
    assert {what: len(pids) for what, pids in said(sandbox).items()} == {
        f"plain {i}": 2 if f"plain {i}" in had else 1 for i in range(10)
    }


def running(sandbox):
    """Cells that have begun and whose processes live."""
    return {what for what, pids in said(sandbox).items() if not has_ended(pids[-1])}


def all_run_once(sandbox, cells, but=()):
    """Every cell has one record and ran once, those of ``but`` twice: their first driver was killed."""
    assert Counter(r.status for r in sandbox.records()) == {"ok": cells}
    assert len(list((sandbox.store_folder / "records").iterdir())) == cells, "no cell has two"
    assert {what: len(pids) for what, pids in said(sandbox).items()} == {
        f"plain {i}": 2 if f"plain {i}" in but else 1 for i in range(cells)
    }
    assert not list((sandbox.store_folder / "locks").iterdir())


@pytest.mark.slow
@pytest.mark.nightly
def test_a_slurm_array_of_four_of_which_one_is_requeued(turns):
    """`bench run --local` four times on one store, without any Ray; Slurm starts the same command again."""
    sandbox = turns(12)
    line = ("run", "--local", "--cpus", "1", "-m", "plain")
    array = [sandbox.start(*line) for _ in range(4)]
    wait_for(lambda: len(said(sandbox)) == 4, *array)
    preempted = array.pop(1)
    preempted.kill()
    ended(preempted)
    wait_for(lambda: len(running(sandbox)) == 3, *array)
    lost = said(sandbox).keys() - running(sandbox)
    array.append(sandbox.start(*line))
    wait_for(lambda: len(running(sandbox)) == 4, *array)
    (sandbox.folder / "go").touch()
    for process in array:
        code, out = ended(process)
        assert code == 0, out
        assert "12 cells and stages ended" in out, out
        assert "12 ok" in out, out
    assert len(lost) == 1
    all_run_once(sandbox, 12, but=lost)


@pytest.mark.slow
@pytest.mark.nightly
def test_eight_drivers_on_one_store_of_which_three_are_killed(turns):
    sandbox = turns(100)
    drivers = [sandbox.start("run", "--local", "--cpus", "1", "-m", "plain") for _ in range(8)]
    wait_for(lambda: len(said(sandbox)) == 8, *drivers)
    for driver in drivers[2:5]:
        driver.kill()
    for driver in drivers[2:5]:
        ended(driver)
    left = [*drivers[:2], *drivers[5:]]
    wait_for(lambda: len(running(sandbox)) == 5, *left)
    lost = said(sandbox).keys() - running(sandbox)
    (sandbox.folder / "go").touch()
    for process in left:
        code, out = ended(process)
        assert code == 0, out
        assert "100 ok" in out, out
    assert len(lost) == 3
    all_run_once(sandbox, 100, but=lost)


@pytest.mark.slow
def test_a_driver_does_other_cells_while_another_builds_a_stage(turns):
    sandbox = turns(2)
    first = sandbox.start("run", "--local", "--cpus", "1", "-m", "staged")
    wait_for(lambda: "build shared" in said(sandbox), first)
    second = sandbox.start("run", "--local", "--cpus", "1", "-m", "plain", "-m", "staged")
    (sandbox.folder / "go").touch()
    wait_for(lambda: {"plain 0", "plain 1"} <= said(sandbox).keys(), first, second)
    assert set(said(sandbox)) == {"build shared", "plain 0", "plain 1"}
    (sandbox.folder / "stage").touch()
    for process in (first, second):
        code, out = ended(process)
        assert code == 0, out
    assert {len(pids) for pids in said(sandbox).values()} == {1}
    assert {r.status for r in sandbox.records()} == {"ok"}
    assert len(sandbox.records()) == 5
    staged = [r for r in sandbox.records() if r.cell.get("row") == "staged"]
    assert all(r.cost["shared_s"].keys() == {"shared"} for r in staged)


# --------------------------------------------------------------------------------- what a sweep does about it


@pytest.fixture
def two(turns, monkeypatch):
    """Two sweeps over four planned cells on one store, opened by each, that ask again at once."""
    monkeypatch.setattr(leases, "RETRY_S", 0.0)
    sandbox = turns(4)
    plan = sandbox.plan("plain")
    todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    both = Sweep(sandbox.store(), list(todo)), Sweep(sandbox.store(), list(todo))
    yield both
    for sweep in both:
        sweep.leases.close()


def record(unit, status="ok", **more):
    return replace(not_run(unit, status, ""), ended=provenance.now(), **more)


def test_each_takes_what_the_other_has_not_and_waits_when_nothing_else_is_left(two):
    mine, other = two
    got = [mine.next(), other.next(), mine.next(), other.next()]
    assert len({u.key for u in got}) == 4
    assert mine.next() is None
    assert mine.elsewhere
    assert not mine.idle()
    assert not mine.finished()
    for unit in got:
        sweep = mine if unit.key in mine.in_progress else other
        sweep.store.write(record(unit, metrics={"value": 1.0}, cost={"run_s": 7.0}))
        sweep.done(unit.key, "ok")
    assert mine.next() is None
    assert other.next() is None
    for sweep in two:
        assert sweep.finished()
        assert [e.status for e in sweep.ended] == ["ok"] * 4
        assert sorted(e.elsewhere for e in sweep.ended) == [False, False, True, True]
        assert {e.seconds for e in sweep.ended if e.elsewhere} == {7.0}


@pytest.mark.parametrize("status", ["failed", "timeout", "oom", "diverged"])
def test_what_ended_badly_elsewhere_ended(two, status):
    mine, other = two
    unit = other.next()
    other.store.write(record(unit, status, reason="why"))
    other.done(unit.key, status)
    assert mine.next().key != unit.key
    assert [(e.unit.key, e.status, e.reason) for e in mine.ended] == [(unit.key, status, "why")]


@pytest.mark.parametrize("status", ["lost", "skipped", None])
def test_an_end_that_is_nobodys_leaves_the_cell_to_the_other(two, status):
    mine, other = two
    unit = other.next()
    if status is not None:
        other.store.write(record(unit, status))
    other.done(unit.key, status)
    assert mine.next().key == unit.key


def test_a_record_that_the_plan_saw_is_no_news(two):
    mine, other = two
    unit = other.next()
    other.store.write(old := record(unit, "failed"))
    other.done(unit.key, None)
    mine.waiting = [replace(u, seen=old.ended) if u.key == unit.key else u for u in mine.waiting]
    assert mine.next().key == unit.key, "it is run again on purpose"


def test_a_unit_that_is_tried_again_stays_with_its_driver(two):
    mine, other = two
    unit = mine.next()
    mine.lost(unit.key, "the node is gone")
    assert other.next().key != unit.key
    again = mine.next()
    assert (again.key, again.attempt) == (unit.key, 2)
    mine.leases.close()
    assert other.next().key == unit.key


def test_what_a_machine_that_vanished_had_is_taken_over_in_time(two):
    mine, _ = two
    key = mine.waiting[0].key
    held = {"host": "elsewhere", "pid": 1, "started": 1, "seconds": 0.5, "token": "t", "beat": 1}
    locks = mine.store.artifacts._files.root / "locks"
    locks.mkdir(parents=True)
    (locks / f"{key}.json").write_bytes(orjson.dumps(held))
    assert key not in {mine.next().key for _ in range(3)}
    until = time.monotonic() + BOUND_S
    while (unit := mine.next()) is None:
        assert mine.elsewhere
        assert time.monotonic() < until
        time.sleep(0.02)
    assert unit.key == key


def test_a_store_that_cannot_be_asked_stops_the_sweep(two):
    mine, _ = two
    root = mine.store.artifacts._files.root
    root.mkdir(parents=True, exist_ok=True)
    (root / "locks").write_text("a file is in the way")
    assert mine.next() is None
    assert mine.finished()
    assert "cannot write" in mine.error
    assert "locks" in mine.error


# ------------------------------------------------------------------------------------------- another's store


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.nightly
def test_records_in_a_store_that_is_not_the_drivers_are_no_results(turns, bench, monkeypatch):
    """Each process has a memory of its own, as each node has a folder of its own that is not shared."""
    from bench.engine.cluster import feed

    monkeypatch.setattr(feed, "VISIBLE_WITHIN_S", 2.0)
    sandbox = turns(8)
    (sandbox.folder / "go").touch()
    url = "memory://apart"
    monkeypatch.setattr(sweep_command, "FORGETS", ())
    said = bench(*sandbox.arguments("run", "-m", "plain", store=False), "--store", url, "--cpus", "2")
    assert said.code == 2, said
    words = " ".join(said.err.split())
    for part in (
        url,
        os.uname().nodename,
        "this process sees no such record",
        "all nodes share",
        "fsspec URL",
    ):
        assert part in words, words
    assert "8 ok" not in said.out


SAID = {
    "status": "ok",
    "reason": "",
    "file": "",
    "stop": "",
    "lost": "",
    "no_room": "",
    "crowded": "",
    "measured": (),
}


@pytest.fixture
def feed(two):
    """A feed of the first sweep, without a Ray."""
    import threading

    from bench.engine.cluster.feed import Feed
    from bench.engine.cluster.placement import Placement

    return Feed(Placement(two[0], 4, {"a": {"CPU": 8.0, "memory": 64 * 2**30}}), threading.Lock())


def begun(feed, trial):
    """The key of the cell that a trial is given when it has its place."""
    assert feed.suggest(trial)["CPU"] == 1
    return feed.begin(trial)[0]


@pytest.mark.ray
def test_a_record_that_is_seen_late_counts_once_it_is_seen(feed, two, monkeypatch):
    from bench.engine.cluster import feed as module

    monkeypatch.setattr(module, "VISIBLE_POLL_S", 0.0)
    mine, worker = two
    key = begun(feed, "one")
    made = record(mine.in_progress[key][0])
    feed.suggest("waits")
    feed.on_trial_complete("one", {**SAID, "key": key, "ended": made.ended})
    assert mine.ended == []
    assert feed.suggest("two") is None, "nothing more is started on trust"
    assert feed.begin("waits") is None
    assert not mine.stopped
    worker.store.write(made)
    feed.poll()
    assert [(e.unit.key, e.status) for e in mine.ended] == [(key, "ok")]
    assert begun(feed, "three") != key


@pytest.mark.ray
def test_a_record_is_seen_also_where_another_of_its_key_counts(feed, two):
    """A node whose clock is behind writes a record that ended before the one that it replaces."""
    mine, worker = two
    key = begun(feed, "one")
    unit = mine.in_progress[key][0]
    late = replace(record(unit, "failed"), ended="2999-01-01T00:00:00+00:00")
    made = record(unit)
    worker.store.write(late)
    worker.store.write(made)
    feed.on_trial_complete("one", {**SAID, "key": key, "ended": made.ended})
    assert [(e.unit.key, e.status) for e in mine.ended] == [(key, "ok")]


@pytest.mark.ray
def test_what_only_waits_for_a_place_is_anybodys(feed, two):
    mine, other = two
    for trial in ("one", "two", "three", "four"):
        assert feed.suggest(trial) is not None
    assert feed.suggest("five") is None, "there are four cells"
    assert mine.in_progress == {}
    got = [other.next() for _ in range(4)]
    assert len({u.key for u in got}) == 4, "the other driver finds them all"
    assert feed.begin("one") is None
    assert mine.elsewhere
    assert not mine.idle()
    feed.placement.look()
    assert feed.placement.surplus == {"two", "three", "four"}, "what another driver runs is asked for no more"
    for unit in got[:3]:
        other.store.write(record(unit))
        other.done(unit.key, "ok")
    other.done(got[3].key, None)
    mine.recheck()
    assert [e.elsewhere for e in mine.ended] == [True] * 3
    feed.placement.look()
    assert len(feed.placement.surplus) == 2
    assert feed.begin("two")[0] == got[3].key


@pytest.mark.ray
def test_a_stopped_sweep_withdraws_what_waits(feed, two):
    mine, _ = two
    for trial in ("one", "two"):
        feed.suggest(trial)
    begun_key = feed.begin("one")[0]
    mine.stop("the budget is used up")
    feed.placement.look()
    assert feed.placement.surplus == {"two"}
    feed.on_trial_complete("two")
    assert feed.placement.pending == {}
    feed.on_trial_complete("one", {**SAID, "key": begun_key, "status": ""})
    assert feed.suggest("three") == "FINISHED"
    assert mine.ended == []
