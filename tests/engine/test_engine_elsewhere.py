"""What is no cell's fault: a machine that is gone, full, or about to be taken away. Cells go on elsewhere."""

import errno
import shutil
import threading

import pytest

from bench.engine import worker
from bench.engine.child import _error
from bench.engine.execute import units
from bench.engine.forkserver import ForkServer
from bench.engine.worker import NoRoomError, run_unit
from bench.store.checkpoints import Checkpoints
from bench.store.files import StoreError
from bench.store.records import Store

# ---------------------------------------------------------------------------------------------- checkpoints


class Saved:
    """Checkpoints of which a new one is there at every third look."""

    remote = True

    def __init__(self):
        self.looks = 0

    def put(self):
        self.looks += 1
        if self.looks == 2:
            raise StoreError("no network")
        return self.looks % 3 == 0


def test_a_checkpoint_is_copied_at_most_once_a_minute():
    waited = []

    def ended(seconds):
        waited.append(seconds)
        return len(waited) >= 8

    worker._copy(Saved(), ended)
    assert waited == [5, 5, 5, 55, 5, 5, 5, 55, 5]


def test_a_folder_that_all_machines_share_needs_no_copies(sandbox):
    before = threading.active_count()
    with worker.copied(sandbox.store().artifacts.checkpoints("k", "")):
        assert threading.active_count() == before


@pytest.mark.slow
def test_a_long_cell_goes_on_on_another_machine_to_the_same_number(sandbox, tmp_path, monkeypatch):
    """Machines are caches of their own, and the store is no folder."""
    monkeypatch.setattr(worker, "LOST_RETRIES", 0)
    url = f"memory://{tmp_path.name}"
    sandbox.use("watched")
    log = sandbox.folder / "log"
    server = ForkServer(("torch",))
    server.start()

    def run(machine, **how):
        sandbox.of("watched", run={"opened": str(log), **how})
        plan = sandbox.plan("trained")
        (todo,), _ = units(plan, plan.cells, sandbox.registry(), failed=False)
        return run_unit(todo, server, Store.open(url, cache=tmp_path / machine))

    alone = run("zero")
    killed = run("one", kill="yes")
    assert (alone.status, killed.status) == ("ok", "lost")
    log.unlink()
    again = run("two", kill="yes")
    assert (again.status, again.key) == ("ok", killed.key)
    assert "run from 7" in log.read_text()
    assert again.metrics["weights"] == alone.metrics["weights"], "bit by bit"
    assert Store.open(url)._files.names(f"checkpoints/{again.key}") == {}


# --------------------------------------------------------------------------------------------------- no room


def caused(error, cause):
    try:
        raise error from cause
    except Exception as e:
        return e


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')"), True),
        (caused(ValueError("not written"), OSError(errno.ENOSPC, "full")), True),
        (ValueError(errno.ENOSPC), False),
    ],
)
def test_a_full_disk_is_told_from_a_methods_own_errors(error, full):
    assert _error(error, ("a", "b"))["no_room"] is full


FULL = """
import errno

from bench.contract import method


@method("faults", name="Finds a full disk")
def full(data, hp, ctx):
    with open(data["flag"], "a") as f:
        f.write("x")
    raise OSError(errno.ENOSPC, "No space left on device")
"""


@pytest.fixture
def full(sandbox):
    """A sweep of one row that finds its disk full; what it has tried is counted."""
    (sandbox.folder / "full.py").write_text(FULL)
    sandbox.use("faults").plugins.append(str(sandbox.folder / "full.py"))
    sandbox.of("faults", run={"flag": str(sandbox.folder / "tried")})
    return sandbox


def test_a_full_machine_is_not_held_against_the_cell(full, monkeypatch, bench):
    monkeypatch.setattr(worker.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    said = bench(*full.arguments("run", "--local", "-m", "full"))
    assert said.code == 2
    assert "0.00 GB are free in" in said.err
    assert "name another folder (TMPDIR, BENCH_CACHE)" in said.err
    assert full.records() == [], "it stays new"
    assert (full.folder / "tried").read_text() == "x"


def test_a_disk_that_has_room_again_costs_an_attempt(full, monkeypatch):
    monkeypatch.setattr(worker, "ROOM_GB", 0.0)
    sweep = full.run("full")
    assert not sweep.stopped
    (record,) = full.records()
    assert (record.status, record.attempts, record.reason) == ("lost", 3, "no room was left on a disk")


@pytest.mark.parametrize(("room", "raised"), [(float("inf"), NoRoomError), (0.0, StoreError)])
def test_a_full_cache_is_told_from_a_store_that_cannot_be_read(full, monkeypatch, room, raised):
    def fetch(self):
        raise StoreError("cannot fetch x") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoints, "fetch", fetch)
    monkeypatch.setattr(worker, "ROOM_GB", room)
    plan = full.plan("full")
    (unit,), _ = units(plan, plan.cells, full.registry(), failed=False)
    with pytest.raises(raised):
        run_unit(unit, None, full.store())


def test_a_full_store_is_told_as_that(sandbox, monkeypatch):
    monkeypatch.setattr(worker, "ROOM_GB", 0.0)
    worker.check_room(sandbox.store())
    monkeypatch.setattr("bench.store.files._LITTLE", 1 << 62)
    with pytest.raises(StoreError, match="no room is left on the disk of store"):
        worker.check_room(sandbox.store())
