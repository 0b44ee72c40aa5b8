"""How many requests a cell costs on an object store, counted by a file system that counts: no more with many
records than with few.
"""

import uuid
from collections import Counter

import numpy as np
import pytest

from bench.contract import Units
from bench.engine.execute import units
from bench.engine.forkserver import Outcome
from bench.engine.sweep import Sweep
from bench.engine.worker import run_unit
from bench.store import records
from bench.store.files import RemoteFiles
from bench.store.records import Store

#: The floor of the design.
MOST = 6
#: What a cell of the smallest kind costs, in order: its lease, whether another driver has ended it, whether
#: it has begun elsewhere, its record, and the lease again.
SMALLEST = ["create locks", "names records", "names checkpoints", "write records", "remove locks"]


class Server:
    """A fork server whose cells end at once."""

    def run(self, job, *, cancel=None):
        per_example = {"value": Units(ids=np.arange(3), values=np.arange(3.0) + job.seed)}
        kept = per_example if job.cell["row"] == "tuned" else {}
        return Outcome("ok", result={"metrics": {"harmonic": 1.0}, "cost": {"run_s": 1.0}, "units": kept})


@pytest.fixture
def counted(monkeypatch):
    """What is asked of any object store of this process: ``(operation, folder)``, one for each file."""
    asked = []

    def count(name):
        real = getattr(RemoteFiles, name)

        def counting(self, what, *more, **how):
            for path in what if isinstance(what, (list, tuple)) else [what]:
                asked.append(f"{name} {path.partition('/')[0]}")
            return real(self, what, *more, **how)

        monkeypatch.setattr(RemoteFiles, name, counting)

    for name in ("names", "read", "read_many", "write", "create", "get", "put", "remove", "move"):
        count(name)
    # A listing of segments that is a minute old is made anew, however slow this machine is.
    monkeypatch.setattr(records, "_SEGMENTS_S", float("inf"))
    return asked


@pytest.fixture
def sweeps(sandbox):
    """Makes sweeps over the same cells of two rows, each as a driver of its own on one object store."""
    sandbox.use("names").of("names", seeds=12, ranks_by="harmonic", grid={"shifts": [0.0]})
    url, opened = f"memory://{uuid.uuid4().hex}", []

    def driver(row):
        plan = sandbox.plan(row)
        todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
        opened.append(Sweep(Store.open(url), list(todo)))
        return opened[-1]

    yield driver
    for sweep in opened:
        sweep.leases.close()


def run_one(sweep):
    """One cell from its lease to its record, as `bench.engine.local` runs it."""
    unit = sweep.next()
    record = run_unit(unit, Server(), sweep.store)
    sweep.done(unit.key, record.status)


@pytest.mark.parametrize(("row", "more"), [("memorised", []), ("tuned", ["write artifacts"])])
def test_a_cell_costs_at_most_six_requests_however_many_records_there_are(sweeps, counted, row, more):
    sweep = sweeps(row)
    run_one(sweep)  # the header of the store and the list of definitions are written once
    for _ in range(8):
        counted.clear()
        run_one(sweep)
        assert sorted(counted) == sorted(SMALLEST + more)
        assert len(counted) <= MOST
    counted.clear()
    assert sweep.store._files.names("locks") == {}
    assert len(sweep.store.summaries()) == 9


@pytest.mark.parametrize(("row", "more"), [("memorised", []), ("tuned", ["write artifacts"])])
def test_on_a_cluster_the_driver_sees_a_record_with_one_request_more(sweeps, counted, row, more):
    """It is told the file, and believes it when it has read it."""
    sweep = sweeps(row)
    workers = Store.open(sweep.store.url)
    for _ in range(9):
        counted.clear()
        unit, files = sweep.next(), []
        record = run_unit(unit, Server(), workers, wrote=files.append)
        assert sweep.store.holds(unit.key, record.ended, *files)
        sweep.done(unit.key, record.status)
    assert sorted(counted) == sorted([*SMALLEST, *more, "read_many records"])
    assert len(counted) - len(more) <= MOST
    assert not sweep.store.holds(unit.key, "another time", *files)
    assert not sweep.store.holds(sweep.next().key, record.ended, *files), "of another cell"
    workers.seal(1)
    assert Store.open(sweep.store.url).holds(unit.key, record.ended, *files), "sealed meanwhile"


def test_a_cell_that_another_driver_has_ended_costs_two_requests_and_its_record(sweeps, counted):
    mine, other = sweeps("memorised"), sweeps("memorised")
    run_one(mine)
    for _ in range(4):
        run_one(other)
    assert [e.elsewhere for e in other.ended] == [True, False, False, False, False]
    counted.clear()
    run_one(mine)
    assert [e.elsewhere for e in mine.ended] == [False, True, True, True, True, False]
    found = Counter(counted)
    # What the first look brings of the others is known then, without asking for their leases.
    assert found["read_many records"] == 4
    assert found["names records"] == 2
    assert found["create locks"] == found["remove locks"] == 2
    assert found["names segments"] == 0


def test_a_record_that_another_driver_has_sealed_is_found(sweeps, counted):
    mine, other = sweeps("memorised"), sweeps("memorised")
    run_one(mine)
    for _ in range(4):
        run_one(other)
    assert other.store.seal(1) == 5
    counted.clear()
    run_one(mine)
    assert [e.elsewhere for e in mine.ended] == [False, True, True, True, True, False]
    assert counted.count("names segments") == 2, "for each claim, since no record that was read is loose"
    assert {r.key for r in map(mine.store.read, mine.store.summaries())} == {e.unit.key for e in mine.ended}


def test_a_lease_that_is_kept_for_long_costs_one_request_a_renewal(counted):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    lease = store.artifacts.lease("ab12", 60)
    assert lease.acquire()
    counted.clear()
    assert lease.renew()
    assert lease.renew()
    assert counted == ["write locks"] * 2
    lease._written -= 40  # as after a machine that slept
    counted.clear()
    assert lease.renew()
    assert counted == ["read locks", "write locks"], "another may have taken it over"


@pytest.mark.parametrize("how", ["overwrites", "knows no such word"])
def test_a_store_that_cannot_create_in_one_step_has_leases_all_the_same(monkeypatch, how):
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    plain = store._files._fs.pipe_file

    def pipe_file(path, value, **more):
        if more and how != "overwrites":
            raise TypeError("unexpected keyword argument 'mode'")
        return plain(path, value)

    monkeypatch.setattr(store._files._fs, "pipe_file", pipe_file)
    first, second = store.artifacts.lease("ab12", 60), Store.open(store.url).artifacts.lease("ab12", 60)
    assert first.acquire()
    assert not second.acquire(), "its file was not overwritten"
    assert store._files.names("tmp") == {}
    first.release()
    assert second.acquire()
