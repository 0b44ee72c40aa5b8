"""What a cell leaves behind ends with it, and what it takes away costs no answer: processes, threads,
folders, words without end."""

import os
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import orjson
import psutil
import pytest

from bench.contract import Needs
from bench.engine import forkserver, processes

BIG = 200_000


@pytest.fixture
def leaves(sandbox):
    sandbox.use("leaves").of("leaves", run={"flag": str(sandbox.folder / "flag")})
    return sandbox


def alive(sandbox):
    """Processes far away that are still there."""
    pids = [int(f.read_text()) for f in sandbox.folder.glob("flag.*") if f.read_text().endswith(" ")]
    return [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]


def wait_for(what, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def size(sandbox, row):
    """Bytes of a row's record, as it is stored."""
    return sum(
        f.stat().st_size
        for f in sandbox.store_folder.glob("records/*.json")
        if orjson.loads(f.read_bytes())["cell"]["row"] == row
    )


AWAY = {
    "away-and-ok": "ok",
    "away-from-a-thread": "ok",
    "away-and-raises": "failed",
    "away-and-leaves": "failed",
    "away-and-crashes": "failed",
    "away-and-hangs": "timeout",
    "away-and-eats": "oom",
}


def test_processes_that_went_away_end_with_their_cell_however_it_ends(leaves):
    leaves.run(*AWAY, cpus=2)
    records = leaves.by_row()
    assert {row: r.status for row, r in records.items()} == AWAY, {k: r.error for k, r in records.items()}
    assert records["away-and-leaves"].error["message"] == "left with exit code 3 and no answer"
    assert records["away-and-crashes"].error["message"] == "crashed with SIGSEGV"
    assert "over its limit of 0.8 GB" in records["away-and-eats"].error["message"]
    assert records["away-and-eats"].cost["peak_mem_mb"] > 800, "its memory counts wherever it is"
    said = len(list(leaves.folder.glob("flag.*")))
    assert said >= len(AWAY) - 1, "but the one of the short limit all have waited for theirs"
    assert alive(leaves) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell_by", "driver_by"),
    [(signal.SIGKILL, os.killpg), (signal.SIGTERM, os.kill)],
    ids=["group", "driver"],
)
def test_processes_that_went_away_end_with_a_killed_cell_server_and_driver(leaves, cell_by, driver_by):
    """One sweep: its cell is killed and tried again, then its fork server is terminated, then the driver or
    its group is killed. What a server killed by SIGKILL promises is in `bench.engine.processes`.
    """
    flag = leaves.folder / "waits"

    def one():
        """The cell, as soon as it waits; and that nothing is left of those before it."""
        wait_for(lambda: flag.exists() and flag.read_text().endswith(" "))
        pid = int(flag.read_text())
        flag.unlink()
        wait_for(lambda: len(alive(leaves)) == 1)
        return pid

    driver = leaves.start("run", "--local", "-m", "away-and-waits")
    try:
        os.kill(one(), cell_by)
        second = one()
        os.kill(psutil.Process(second).ppid(), signal.SIGTERM)
        third = one()
        driver_by(driver.pid, signal.SIGKILL)
        wait_for(lambda: not alive(leaves))
        wait_for(lambda: not psutil.pid_exists(third))
    finally:
        driver.kill()
        driver.communicate(timeout=60)


THREADS = {
    "thread-and-returns": ("ok", ""),
    "thread-and-exits": ("failed", "SystemExit: no use going on"),
    "thread-and-interrupts": ("failed", "KeyboardInterrupt: "),
    "thread-and-ends": ("failed", "NotAnException: of another kind"),
    "thread-and-raises": ("failed", "ValueError: as usual"),
    "returns-twice": ("ok", ""),
}


def test_an_answer_or_an_error_ends_the_cell_whatever_threads_live_on(leaves):
    """Their limit is 5 minutes, that of this test less."""
    leaves.run(*THREADS)
    records = leaves.by_row()
    told = {
        k: (r.status, f"{r.error['type']}: {r.error['message']}" if r.error else "")
        for k, r in records.items()
    }
    assert told == THREADS
    assert records["returns-twice"].metrics["value"] == 1.0
    assert "words before the exit" in records["thread-and-exits"].log


FOLDERS = {
    "without-workdir": ("ok", ""),
    "without-folder": ("ok", ""),
    "other-folder": ("ok", ""),
    "other-log": ("ok", ""),
    "looks-without-workdir": ("ok", ""),
    "temporary-files": ("ok", ""),
    "raises-without-folder": ("failed", "ValueError: where am I?"),
    "closes-its-output": ("ok", ""),
}


def test_an_answer_counts_whatever_became_of_the_folder(leaves):
    leaves.run(*FOLDERS)
    records = leaves.by_row()
    told = {
        k: (r.status, f"{r.error['type']}: {r.error['message']}" if r.error else "")
        for k, r in records.items()
    }
    assert told == FOLDERS
    assert "said before" in records["other-log"].log
    assert all(r.provenance["code"] for r in records.values())
    prefix = f"bench-cell-{forkserver._host()}-{forkserver._boot()}-{os.getpid()}-"
    assert not [p for p in Path(forkserver.tempfile.gettempdir()).glob(f"{prefix}*") if p.is_dir()]


def test_words_are_kept_bounded_and_as_utf8(leaves):
    rows = ("says-no-utf8", "reports-no-utf8", "says-much", "says-many-lines", "cannot-say", "reports-wide")
    leaves.run(*rows)
    r = leaves.by_row()
    assert {k: v.status for k, v in r.items()} == {
        k: "ok" if k == "reports-no-utf8" else "failed" for k in rows
    }
    assert r["says-no-utf8"].error["message"] == "no picture caf\\udce9.jpg"
    assert any("no picture caf\\udce9.jpg" in line for line in r["says-no-utf8"].error["last_lines"])
    assert sum("reading caf\\udce9.jpg" in line for line in r["says-no-utf8"].log) == 2, "printed and logged"
    assert r["reports-no-utf8"].curve[0]["caf\\udce9.jpg"] == 1.0
    assert r["says-much"].error["message"] == "z" * 2000
    assert r["says-much"].error["type"] == "N" * 200
    assert r["cannot-say"].error["type"] == "Silent"
    assert "RuntimeError" in r["cannot-say"].error["message"]
    assert "expected at most 1000 numbers" in r["reports-wide"].error["message"]
    assert max(size(leaves, row) for row in rows) < BIG


def test_a_long_curve_is_thinned_and_a_flood_of_it_does_not_outrun_the_limits(leaves):
    leaves.run("reports-much", "reports-forever")
    records = leaves.by_row()
    much = records["reports-much"]
    steps = [p["step"] for p in much.curve]
    assert (much.status, steps[0], steps[-1]) == ("ok", 0, 99_999)
    assert 1000 <= len(steps) <= 2000
    assert {b - a for a, b in pairwise(steps[:-1])} == {64}
    assert any("100000 reports: the record keeps" in line for line in much.log)
    assert size(leaves, "reports-much") < BIG
    assert records["reports-forever"].status == "timeout"
    assert records["reports-forever"].cost["run_s"] < 60


# ------------------------------------------------------------------------------------- folders of other runs


def named(host, boot, pid):
    return f"bench-cell-{host}-{boot}-{pid}-x7k_q-1y"


def test_only_folders_of_this_machine_whose_driver_is_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(forkserver.tempfile, "tempdir", str(tmp_path))
    host, boot, gone = (
        forkserver._host(),
        forkserver._boot(),
        2**22 + 1,
    )  # above the kernel's largest process number
    kept = [
        named(host, boot, os.getpid()),
        named("0" * 8, boot, gone),
        named("0" * 8, "1" * 8, gone),
        named("0" * 8, "1" * 8, os.getpid()),
        f"bench-cell-{gone}-old_name",
        "bench-cell-unknown",
        f"bench-cell-{host}-{boot}-x-y",
    ]
    removed = [named(host, boot, gone), named(host, "1" * 8, gone), named(host, "1" * 8, os.getpid())]
    for name in (*kept, *removed):
        (tmp_path / name / "work").mkdir(parents=True)
    forkserver._remove_orphaned_folders()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_a_machine_is_not_another_one_and_not_another_container_of_it(monkeypatch):
    mine = forkserver._host(), forkserver._boot()
    assert mine == (forkserver._host(), forkserver._boot())
    assert all(len(part) == 8 and "-" not in part for part in mine)
    monkeypatch.setattr(forkserver.platform, "node", lambda: "elsewhere")
    assert forkserver._host() != mine[0]
    monkeypatch.undo()
    monkeypatch.setattr(forkserver.os, "readlink", lambda path: "pid:[1]")
    assert forkserver._host() != mine[0]


# --------------------------------------------------------------------------------------- a kill by the kernel


@pytest.mark.parametrize(
    ("used_gb", "kills", "status", "reason"),
    [
        (
            0.2,
            1,
            "lost",
            "the kernel ran out of memory and killed it although it used only 0.2 GB of its 4 GB",
        ),
        (2.0, 1, "lost", "used only 2.0 GB of its 4 GB"),
        (3.1, 1, "oom", "the kernel ran out of memory and killed it at 3.1 GB or more of its 4 GB"),
        (3.1, 0, "lost", "killed from outside by SIGKILL"),
    ],
)
def test_a_kill_by_the_kernel_is_held_against_a_cell_that_used_its_share(
    monkeypatch, used_gb, kills, status, reason
):
    outcome = died(monkeypatch, -signal.SIGKILL, used_gb, kills)
    assert outcome.status == status
    assert reason in outcome.reason
    assert outcome.error["message"] == outcome.reason


@pytest.mark.parametrize(
    ("code", "status"), [(-signal.SIGTERM, "lost"), (-signal.SIGSEGV, "failed"), (3, "failed")]
)
def test_an_end_that_is_no_kill_is_not_the_kernels(monkeypatch, code, status):
    outcome = died(monkeypatch, code, 3.9, 1)
    assert outcome.status == status
    assert "memory" not in outcome.reason


def died(monkeypatch, code, used_gb, kills):
    """How a cell of 4 GB that ended by itself is judged, with the kernel's counter as given."""

    class Process:
        exitcode = code

        def join(self):
            pass

    counts = iter([5, 5 + kills])
    monkeypatch.setattr(forkserver, "_oom_kills", lambda: next(counts))
    watch = forkserver._Monitor(Process(), None, None, Needs(mem_gb=4), None)
    watch.peak = used_gb * 1024
    return watch._died()


# ------------------------------------------------------------------------------------------------- the system


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_than_on_linux_cells_are_refused_and_the_rest_works(leaves, bench, monkeypatch, system):
    monkeypatch.setattr(forkserver.sys, "platform", system)
    said = bench(*leaves.arguments("plan"))
    assert said.code == 0, said.err
    assert bench(*leaves.arguments("board")).code == 0
    for how in (["--local"], []):
        said = bench(*leaves.arguments("run", "-m", "plain", *how))
        assert said.code == 2
        assert f"cells run on Linux only, and this is {system}" in " ".join(said.err.split())
    assert leaves.records() == []
    with pytest.raises(forkserver.BenchError, match="on Linux only"):
        forkserver.ForkServer()


def test_a_look_for_processes_spares_those_it_is_told_to(leaves):
    """A shell with two children: one of them is spared."""
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"], start_new_session=True)
    try:
        wait_for(lambda: len(processes.descendants(shell.pid)) == 2)
        first, second = processes.descendants(shell.pid)
        assert set(processes.descendants(os.getpid())) >= {shell.pid, first, second}
        assert processes.descendants(shell.pid, but=[first]) == [second]
        assert processes.end_descendants(shell.pid, but=[first]) == []
        assert psutil.Process(first).is_running()
        assert processes.end_descendants(shell.pid) == []
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
