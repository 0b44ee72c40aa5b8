"""What is left of a sweep that ended early: Ctrl-C, a scheduler, SIGKILL, its budget, its store."""

import os
import re
import shutil
import signal
import time
from collections import Counter

import psutil
import pytest

RAY = pytest.param([], id="ray", marks=[pytest.mark.ray, pytest.mark.slow])
LOCAL = pytest.param(["--local"], id="local")


@pytest.fixture
def sweep(lab):
    """Twelve cells of half a second, two at a time; what ran is in ``log``."""
    lab.use("slow").of("slow", grid={"cells": 12}, run={"seconds": 0.5, "log": str(lab.folder / "log")})
    return lab


def said(lab, word="start"):
    """How often each cell said that word."""
    path = lab.folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(int(x.split()[1]) for x in lines if x.startswith(word))


def pids(lab):
    return {int(x.split()[2]) for x in (lab.folder / "log").read_text().splitlines()}


def wait_for(what, seconds=90):
    until = time.time() + seconds
    while not what():
        assert time.time() < until, "nothing happened"
        time.sleep(0.05)


def ended(process, seconds=60):
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out


def gone(lab, seconds=10):
    """Whether no cell's process is alive after a few seconds."""
    wait_for(lambda: not any(psutil.pid_exists(p) for p in pids(lab)), seconds)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("how", [LOCAL, RAY])
@pytest.mark.parametrize(
    ("number", "all_of_them"),
    [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGTERM, True)],
    ids=["terminal", "kill", "scheduler"],
)
def test_an_interrupt_leaves_a_store_that_goes_on(sweep, how, number, all_of_them):
    process = sweep.start("run", *how, "--cpus", "2")
    wait_for(lambda: len(said(sweep, "end")) >= 3)
    if all_of_them:
        os.killpg(process.pid, number)  # a terminal, or a scheduler, sends it to the whole group
    else:
        process.send_signal(number)
    code, out = ended(process)
    assert code == 130, out
    assert "stopped: interrupted" in out
    assert "Traceback" not in out
    assert gone(sweep)
    recorded = {int(r.cell["task"][1:]) for r in sweep.records()}
    assert len(recorded) >= 2
    assert {r.status for r in sweep.records()} <= {"ok", "lost"}, [r.error for r in sweep.records()]
    assert sweep.store().problems == []
    code, out = ended(sweep.start("run", "--local", "--cpus", "2"))
    assert code == 0, out
    assert {r.status for r in sweep.records()} == {"ok"}
    assert len(sweep.records()) == 12
    assert all(said(sweep, "start")[i] == 1 for i in recorded), "no recorded cell runs a second time"


@pytest.mark.slow
@pytest.mark.parametrize("how", [LOCAL, RAY])
def test_kill_9_of_the_driver_loses_at_most_the_cells_in_flight(sweep, how):
    process = sweep.start("run", *how, "--cpus", "2")
    wait_for(lambda: len(said(sweep, "end")) >= 4)
    process.kill()
    ended(process)
    assert gone(sweep)
    recorded = {int(r.cell["task"][1:]) for r in sweep.records()}
    finished = set(said(sweep, "end"))
    assert len(finished - recorded) <= 2
    assert len(said(sweep, "start")) <= len(finished) + 2
    code, out = ended(sweep.start("run", "--local", "--cpus", "2"))
    assert code == 0, out
    assert {r.status for r in sweep.records()} == {"ok"}
    assert len(sweep.records()) == 12
    assert all(said(sweep, "start")[i] == 1 for i in recorded)


@pytest.mark.slow
def test_two_drivers_on_one_store_leave_one_record_a_cell(sweep):
    both = [sweep.start("run", "--local", "--cpus", "1") for _ in range(2)]
    for process in both:
        code, out = ended(process, 90)
        assert code == 0, out
    records = sweep.records()
    assert len(records) == 12
    assert {(r.status, r.attempts) for r in records} == {("ok", 1)}
    assert sweep.store().problems == []
    assert sweep.plan("sleeps").to_run() == []


@pytest.mark.slow
@pytest.mark.slow
def test_a_budget_stops_starting_and_says_so(sweep):
    # The start of the fork server (torch) is part of the budget, and takes its time on a loaded machine.
    sweep.of("slow", grid={"cells": 12}, run={"seconds": 5, "log": str(sweep.folder / "log")})
    process = sweep.start("run", "--local", "--cpus", "1", "--budget", "20s")
    code, out = ended(process)
    assert code == 0, out
    assert re.search(r"stopped: the budget is used up; \d+ not run; the same command goes on", out), out
    assert 1 <= len(sweep.records()) <= 5
    assert set(said(sweep, "end")) == set(said(sweep, "start")), "a cell that was started may end"


def test_a_budget_is_a_number_with_a_unit(sweep, bench):
    said = bench(*sweep.arguments("run", "--local", "--budget", "soon"))
    assert said.code == 2
    assert "--budget soon: expected a number with s, m, h or d" in said.err


@pytest.mark.slow
def test_a_store_that_becomes_unwritable_stops_the_sweep(sweep):
    process = sweep.start("run", "--local", "--cpus", "1")
    wait_for(lambda: len(sweep.records()) >= 2)
    kept = sweep.folder / "kept"
    shutil.move(sweep.store_folder / "records", kept)
    (sweep.store_folder / "records").write_text("a file is in the way")
    code, out = ended(process)
    assert code == 2, out
    assert "Traceback" not in out
    assert "the sweep stopped" in out
    assert "cannot" in out
    assert "stay new" in out
    assert len(said(sweep, "start")) < 12
    (sweep.store_folder / "records").unlink()
    shutil.move(kept, sweep.store_folder / "records")
    before = {r.key for r in sweep.records()}
    assert 2 <= len(before) < len(said(sweep, "start")) + 1
    code, out = ended(sweep.start("run", "--local", "--cpus", "2"))
    assert code == 0, out
    assert len(sweep.records()) == 12
    assert {r.status for r in sweep.records()} == {"ok"}


def test_what_no_machine_here_can_hold_is_left_out_and_named(sweep, bench):
    sweep.of(
        "slow",
        grid={"cells": 1},
        run={"seconds": 0.0, "log": str(sweep.folder / "log")},
        needs={"sleeps": {"cpu": 1000}},
    )
    said = bench(*sweep.arguments("run", "--local", "-m", "sleeps"))
    assert said.code == 2
    assert "needs cpu 1000; the largest machine here has" in said.err
    said = bench(*sweep.arguments("run", "--local", "-m", "half"))
    assert said.code == 2
    assert "needs gpu 0.5; the largest machine here has 0" in said.err
