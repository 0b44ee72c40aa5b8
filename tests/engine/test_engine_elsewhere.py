"""What is no cell's fault: a machine that is gone, full, or about to be taken away. Cells go on elsewhere."""

import errno
import shutil
import threading
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
from polling import BOUND_S, beside

from bench.engine import worker
from bench.engine.child import _error
from bench.engine.cluster import node as node_module
from bench.engine.execute import units
from bench.engine.forkserver import ForkServer
from bench.engine.worker import NoRoomError, run_unit
from bench.store.checkpoints import Checkpoints
from bench.store.files import StoreError
from bench.store.records import Store

# ---------------------------------------------------------------------------------------------- checkpoints


class Saved:
    """Checkpoints of which a new one is there at every third attempt to copy one. ``now`` is told by who
    waits; ``tried`` is when it was attempted.
    """

    remote = True

    def __init__(self):
        self.now, self.tried = 0, []

    def wait(self, seconds):
        self.now += seconds
        return self.now > 160

    def put(self):
        self.tried.append(self.now)
        if len(self.tried) == 2:
            raise StoreError("no network")
        return len(self.tried) % 3 == 0


def test_a_checkpoint_is_copied_at_most_once_a_minute():
    saved = Saved()
    worker._copy(saved, saved.wait, threading.Event())
    assert saved.tried == [5, 10, 15, 75, 80, 85, 145, 150, 155]


def test_before_a_machine_is_taken_away_each_checkpoint_is_copied_at_once():
    saved, leaving = Saved(), threading.Event()

    def wait(seconds):
        if saved.now == 90:
            leaving.set()
        return saved.wait(seconds)

    worker._copy(saved, wait, leaving)
    assert saved.tried == [5, 10, 15, 75, 80, 85, *range(95, 161, 5)]


@pytest.mark.parametrize("when", ["before its first cell", "while a cell runs"])
def test_the_process_of_a_node_learns_from_its_actors_that_the_machine_is_leaving(monkeypatch, when):
    began, told = threading.Event(), []

    def run_unit(unit, cells, store, *, cancel, visible, leaving, wrote):
        began.set()
        assert leaving.wait(BOUND_S)
        told.append((unit, visible))

    monkeypatch.setattr(node_module, "run_unit", run_unit)
    server = object.__new__(node_module._Server)
    server.lock, server.actors, server.running = threading.Lock(), 1, set()
    server.store = server.cells = None
    server.ending, server.leaving = threading.Event(), threading.Event()
    here, there = Pipe()
    node = node_module.Node(Path("folder"), "store", (), node_module.Parent(1, 1))
    monkeypatch.setattr(node, "_connect", lambda: here)
    with beside(lambda: server._serve(there)):
        assert here.recv() == "counted"
        if when == "before its first cell":
            node.leave()
            assert not server.leaving.is_set(), "nobody is connected"
            ended = node.run("unit", "0")
        else:
            with beside(lambda: began.wait(BOUND_S) and node.leave()):
                ended = node.run("unit", "0")
        node.close()
    assert ended == node_module.Ended()
    assert told == [("unit", "0")]


@pytest.mark.ray
def test_an_actor_hears_that_its_node_is_drained(monkeypatch):
    from bench.engine.cluster import actor as module

    answers = [ConnectionError("the head is gone"), {"other": 0}, {"other": 0, "mine": 0}]

    def get_draining_nodes():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "HEED_S", 0.0)
    monkeypatch.setattr(module, "cluster", SimpleNamespace(get_draining_nodes=get_draining_nodes))
    left = []
    actor = object.__new__(module.CellActor)
    actor.at, actor.node = "mine", SimpleNamespace(leave=lambda: left.append(len(answers)))
    actor._heed()
    assert left == [0]


def test_a_folder_that_all_machines_share_needs_no_copies(sandbox):
    before = threading.active_count()
    with worker.copied(sandbox.store().artifacts.checkpoints("k", ""), threading.Event()):
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
