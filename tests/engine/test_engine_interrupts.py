"""What is left of a sweep that ended early: Ctrl-C, a scheduler, SIGKILL, its budget, its store.

No cell ends before the test lets it go: what is under way at the end is known, however slow the machine is.
"""

import os
import re
import shutil
import signal
import time
from collections import Counter
from types import SimpleNamespace

import psutil
import pytest
from polling import BOUND_S, beside, wait_for

#: One more way to an end that the interrupt by a terminal reaches on Ray, and a killed driver without it.
RAY = pytest.param([], id="ray", marks=[pytest.mark.ray, pytest.mark.slow, pytest.mark.nightly])
LOCAL = pytest.param(["--local"], id="local")
CELLS = range(12)


@pytest.fixture
def sweep(sandbox):
    """Twelve cells; each waits until it is let go, and what it did is in ``log``."""
    run = {"seconds": 0.0, "log": str(sandbox.folder / "log"), "until": str(sandbox.folder / "go-{i}")}
    sandbox.use("slow").of("slow", grid={"cells": len(CELLS)}, run=run)
    return sandbox


def let_go(sandbox, cells=CELLS):
    for i in cells:
        (sandbox.folder / f"go-{i}").touch()


def lines(sandbox):
    path = sandbox.folder / "log"
    return [x.split() for x in path.read_text().splitlines()] if path.exists() else []


def said(sandbox, word="start"):
    """How often each cell said that word."""
    return Counter(int(i) for what, i, _ in lines(sandbox) if what == word)


def ended(process):
    out, _ = process.communicate(timeout=BOUND_S)
    return process.returncode, out


def gone(sandbox):
    """Wait until no cell's process is alive."""
    wait_for(lambda: not any(psutil.pid_exists(int(pid)) for *_, pid in lines(sandbox)), "a cell lives on")


def recorded(sandbox, *statuses):
    return {int(r.cell["task"][1:]) for r in sandbox.records() if r.status in statuses}


def started_and_held(sandbox, how, done):
    """A driver that has recorded the cells ``done`` and has the next two under way, which are held."""
    let_go(sandbox, done)
    process = sandbox.start("run", *how, "--cpus", "2")
    # A cell starts on a place that another one left, and that one's record is written by then.
    wait_for(lambda: len(said(sandbox)) == len(done) + 2 or process.poll() is not None)
    return process


def goes_on(sandbox, done):
    """The same sweep again runs what is missing, and nothing of what is recorded."""
    assert sandbox.store().problems == []
    let_go(sandbox)
    sandbox.run(cpus=2)
    assert recorded(sandbox, "ok") == set(CELLS)
    assert len(sandbox.records()) == len(CELLS)
    assert all(said(sandbox)[i] == 1 for i in done), "no recorded cell runs a second time"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "number", "all_of_them"),
    [
        pytest.param(["--local"], signal.SIGINT, True, id="terminal-local"),
        pytest.param(["--local"], signal.SIGTERM, False, id="kill-local"),
        pytest.param(["--local"], signal.SIGTERM, True, id="scheduler-local"),
        pytest.param([], signal.SIGINT, True, id="terminal-ray", marks=pytest.mark.ray),
        pytest.param([], signal.SIGTERM, False, id="kill-ray", marks=[pytest.mark.ray, pytest.mark.nightly]),
        pytest.param(
            [], signal.SIGTERM, True, id="scheduler-ray", marks=[pytest.mark.ray, pytest.mark.nightly]
        ),
    ],
)
def test_an_interrupt_leaves_a_store_that_goes_on(sweep, how, number, all_of_them):
    process = started_and_held(sweep, how, {0, 1, 2})
    if all_of_them:
        os.killpg(process.pid, number)  # a terminal, or a scheduler, sends it to the whole group
    else:
        process.send_signal(number)
    code, out = ended(process)
    assert code == 130, out
    assert "stopped: interrupted" in out
    assert "Traceback" not in out
    gone(sweep)
    assert recorded(sweep, "ok") == {0, 1, 2}
    assert {r.status for r in sweep.records()} <= {"ok", "lost"}, [r.error for r in sweep.records()]
    goes_on(sweep, {0, 1, 2})


@pytest.mark.slow
@pytest.mark.parametrize("how", [LOCAL, RAY])
def test_kill_9_of_the_driver_loses_only_the_cells_in_flight(sweep, how):
    process = started_and_held(sweep, how, {0, 1, 2, 3})
    process.kill()
    ended(process)
    gone(sweep)
    assert recorded(sweep, "ok") == {0, 1, 2, 3}
    assert len(sweep.records()) == 4
    assert len(said(sweep)) == 6, "nothing was started after its end"
    goes_on(sweep, {0, 1, 2, 3})


@pytest.mark.slow
def test_two_drivers_on_one_store_leave_one_record_a_cell(sweep):
    other = sweep.start("run", "--local", "-m", "sleeps", "--cpus", "1")
    wait_for(lambda: said(sweep) or other.poll() is not None)

    def let_go_when_both_have_a_cell():
        try:
            wait_for(lambda: len(lines(sweep)) >= 2)
        finally:
            let_go(sweep)

    with beside(let_go_when_both_have_a_cell):
        sweep.run(cpus=1)
    code, out = ended(other)
    assert code == 0, out
    records = sweep.records()
    assert len(records) == 12
    assert {(r.status, r.attempts) for r in records} == {("ok", 1)}
    assert sweep.store().problems == []
    assert sweep.plan("sleeps").to_run() == []


@pytest.fixture
def later(monkeypatch):
    """Set its ``s``, and a sweep's clock is that many seconds ahead."""
    ahead = SimpleNamespace(s=0.0)
    clock = SimpleNamespace(
        time=lambda: time.time() + ahead.s, monotonic=lambda: time.monotonic() + ahead.s, sleep=time.sleep
    )
    monkeypatch.setattr("bench.engine.sweep.time", clock)
    monkeypatch.setattr("bench.engine.local.time", clock)
    return ahead


@pytest.mark.parametrize(("grace", "last_may_end"), [(60, True), (600, False)])
def test_a_budget_stops_starting_and_says_so(sweep, bench, later, grace, last_may_end):
    """What is under way when an hour is used up may take a tenth of it more."""
    let_go(sweep, {0, 1})

    def use_it_up():
        try:
            wait_for(lambda: said(sweep)[2])
            later.s = 3600 + grace
        finally:
            let_go(sweep, CELLS if last_may_end or not later.s else ())

    with beside(use_it_up):
        out = bench(*sweep.arguments("run", "--local", "-m", "sleeps", "--cpus", "1", "--budget", "1h"))
    assert out.code == 0, out
    left = 9 if last_may_end else 10
    assert f"stopped: the budget is used up; {left} not run; the same command goes on" in out.out, out
    assert set(said(sweep)) == {0, 1, 2}
    assert recorded(sweep, "ok") == set(said(sweep, "end")) == ({0, 1, 2} if last_may_end else {0, 1})
    assert len(sweep.records()) == 12 - left


def test_a_budget_is_a_number_with_a_unit(sweep, bench):
    said = bench(*sweep.arguments("run", "--local", "--budget", "soon"))
    assert said.code == 2
    assert "--budget soon: expected a number with s, m, h or d" in said.err


def test_a_store_that_becomes_unwritable_stops_the_sweep(sweep, bench):
    kept, records = sweep.folder / "kept", sweep.store_folder / "records"
    let_go(sweep, {0, 1})

    def put_a_file_in_the_way():
        try:
            wait_for(lambda: said(sweep)[2])
            shutil.move(records, kept)
            records.write_text("a file is in the way")
        finally:
            let_go(sweep)

    with beside(put_a_file_in_the_way):
        out = bench(*sweep.arguments("run", "--local", "--cpus", "1"))
    assert out.code == 2, out
    assert re.search(r"the sweep stopped.*cannot.*stay new", (out.out + out.err).replace("\n", " ")), out
    assert set(said(sweep)) == {0, 1, 2}
    records.unlink()
    shutil.move(kept, records)
    assert recorded(sweep, "ok") == {0, 1}
    goes_on(sweep, {0, 1})


def test_what_no_machine_here_can_hold_is_left_out_and_named(sweep, bench):
    sweep.of(
        "slow",
        grid={"cells": 1},
        run={"seconds": 0.0, "log": str(sweep.folder / "log")},
        needs={"sleeps": {"cpu": 1000}},
    )
    for row, needs in (("sleeps", "cpu 1000"), ("half", "gpu 0.5")):
        said = bench(*sweep.arguments("run", "--local", "-m", row))
        assert said.code == 3, "it is the machine's fault, and no cell's"
        line = f"left out 1 cells or stages that need {needs}; the largest machine here has"
        assert line in said.out, "it is told before cells run"
        assert line in said.err, "and at the end"
    assert sweep.records() == [], "they stay new"
