"""What a cluster is asked for, by shape, and that no cell starves; without a Ray, by a clock that is set."""

from types import SimpleNamespace

import pytest

from bench.contract import Needs, Task
from bench.engine.cluster import placement as module
from bench.engine.cluster.placement import Placement
from bench.engine.job import Job, Unit
from bench.engine.sweep import Sweep
from bench.registry import Origin

GB = 2**30
SMALL = {"CPU": 4.0, "GPU": 1.0, "memory": 32.0 * GB}
LARGE = {"CPU": 8.0, "GPU": 2.0, "memory": 64.0 * GB}
NODES = {"small": SMALL, "large": LARGE}


def unit(key, block=0, seconds=10.0, **needs):
    origin = Origin(module="none")
    job = Job(
        key=key, kind="cell", cell={"track": "t", "task": "t", "row": key, "seed": block},
        task=Task(name="t"),
        track=origin, method=origin, method_id="m", ranks_by="value", needs=Needs(mem_gb=1, **needs),
    )  # fmt: skip
    return Unit(job=job, label=key, seconds=seconds)


class Anybody:
    """Leases that nobody else holds."""

    def claim(self, unit):
        return True

    def refused(self, key):
        return False

    def built(self, unit):
        return {}

    def release(self, key):
        pass


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr("bench.engine.sweep.time", SimpleNamespace(monotonic=lambda: now.s))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


@pytest.fixture
def of(clock):
    def of(*units, max_pending=256, nodes=NODES):
        sweep = Sweep(SimpleNamespace(), list(units))
        sweep.leases = Anybody()
        sweep.machines = [Needs(cpu=n["CPU"], gpu=n["GPU"], mem_gb=n["memory"] / GB) for n in nodes.values()]
        return Placement(sweep, max_pending, nodes)

    return of


def fill(placement, prefix="t"):
    """Ask as Tune does, until enough is pending; returns the trials with their shapes."""
    placement.look()
    n = len(placement.pending)
    while len(placement.pending) < placement.max_pending and placement.ask(f"{prefix}{n}"):
        n += 1
    return placement.pending


def withdraw(placement):
    for trial in list(placement.surplus):
        placement.end(trial)


def test_the_whole_demand_is_pending_by_shape_and_up_to_a_bound(of):
    units = [unit(f"one{i}", gpu=1) for i in range(300)]
    pending = fill(of(*units))
    assert len(pending) == 256
    assert {(s.cpu, s.gpu, s.memory, s.avoid) for s in pending.values()} == {(1, 1, GB, ())}
    assert len(fill(of(*units, max_pending=3))) == 3
    assert len(fill(of(*units[:5], unit("two", gpu=2), unit("none")))) == 7
    assert len(fill(of(*units[:5], nodes={}))) == 5, (
        "no node is up yet: an autoscaler is to see it all the same"
    )


def test_wide_cells_come_first_within_a_block_and_then_the_longest(of):
    placement = of(
        unit("short", gpu=1, seconds=1), unit("long", gpu=1, seconds=100), unit("wide", gpu=2, seconds=5),
        unit("node", gpu=2, cpu=8, seconds=1), unit("next", block=1, gpu=2),
    )  # fmt: skip
    assert [u.key for u in placement.sweep.ready(9)] == ["wide", "node", "long", "short", "next"]
    assert [s.gpu for s in fill(placement).values()] == [2, 2, 1, 1, 2]


def test_a_trial_gets_the_first_cell_of_its_shape_when_it_has_its_place(of, clock):
    placement = of(unit("a", gpu=1, seconds=9), unit("b", gpu=1, seconds=8), unit("c", seconds=1))
    trials = list(fill(placement))
    shapes = [s.gpu for s in placement.pending.values()]
    assert shapes == [1, 1, 0]
    assert placement.begin(trials[1]).key == "a"
    assert placement.begin(trials[2]).key == "c"
    placement.sweep.lost("a", "its node is gone")
    clock.s += 1.0
    assert placement.ask("again").gpu == 1
    again = placement.begin(trials[0])
    assert (again.key, again.attempt) == ("a", 2), "what was lost comes first"
    assert placement.begin("again").key == "b"
    assert fill(placement) == {}


def test_what_is_left_out_is_asked_for_by_nobody(of):
    placement = of(unit("a", gpu=1), unit("b", gpu=1))
    fill(placement)
    placement.left_out = {"small", "gone"}
    placement.look()
    assert placement.surplus == set(placement.pending)
    withdraw(placement)
    assert {s.avoid for s in fill(placement).values()} == {("small",)}


def test_a_wide_cell_is_not_starved(of, clock):
    """Narrow cells run on both nodes, and each that ends is followed by another."""
    placement = of(
        *[unit(f"first{i}", gpu=1, seconds=10.0) for i in range(3)],
        unit("wide", block=1, gpu=2), *[unit(f"later{i}", block=1, gpu=1) for i in range(20)],
    )  # fmt: skip
    trials = iter(list(fill(placement)))
    for _ in range(3):
        placement.begin(next(trials))
    free = {"small": {**SMALL, "GPU": 0.0}, "large": {**LARGE, "GPU": 0.0}}
    placement.watch(lambda: free)
    clock.s += 9.0
    placement.watch(lambda: free)
    assert not placement.sweep.held, "it has waited less than the shortest running cell takes"
    assert {s.avoid for s in placement.pending.values()} == {()}
    clock.s += 2.0
    placement.watch(lambda: free)
    assert placement.sweep.held == "a node is kept free for wide (cpu 1, gpu 2), which waited 11 s"
    narrow = {t for t, s in placement.pending.items() if s.gpu == 1}
    assert placement.surplus == narrow, "what would take its place is withdrawn"
    withdraw(placement)
    fill(placement, "other")
    assert sorted((s.gpu, s.avoid) for s in placement.pending.values())[-1] == (2, ())
    assert {s.avoid for s in placement.pending.values() if s.gpu == 1} == {("large",)}, (
        "others go on elsewhere"
    )
    wide = next(t for t, s in placement.pending.items() if s.gpu == 2)
    assert placement.begin(wide).key == "wide"
    assert not placement.sweep.held
    assert len(placement.surplus) == 20
    withdraw(placement)
    assert {s.avoid for s in fill(placement, "back").values()} == {()}


def test_nothing_is_kept_for_what_ray_is_about_to_place_or_no_node_can_hold(of, clock):
    placement = of(unit("runs", gpu=1), unit("wide", block=1, gpu=2), unit("later", block=1, gpu=1))
    trials = list(fill(placement))
    placement.begin(trials[0])
    placement.watch(lambda: NODES)
    clock.s += 100.0
    placement.watch(lambda: NODES)
    assert not placement.sweep.held
    placement.nodes = {"small": SMALL}
    placement.watch(lambda: {"small": {"CPU": 3.0}})
    assert not placement.sweep.held, "it waits for a node that the cluster has yet to start"


def test_what_needs_nothing_that_is_short_goes_on(of, clock):
    placement = of(
        unit("runs", gpu=1), unit("wide", block=1, gpu=2), unit("later", block=1, gpu=1), unit("cpu", block=2)
    )
    placement.begin(next(iter(fill(placement))))
    free = {"large": {**LARGE, "GPU": 1.0}}
    placement.watch(lambda: free)
    clock.s += 100.0
    placement.watch(lambda: free)
    later, cpu = (next(u for u in placement.sweep.waiting if u.key == k) for k in ("later", "cpu"))
    assert placement.shape(later.needs).avoid == ("large",)
    assert placement.shape(cpu.needs).avoid == ()
    placement.watch(lambda: {"large": {**LARGE, "CPU": 0.0}})
    assert placement.shape(cpu.needs).avoid == ("large",), "such cells have taken its processors meanwhile"


def test_a_node_is_not_kept_from_what_does_not_fit_there(of, clock):
    placement = of(unit("runs", gpu=1), unit("one", block=1, gpu=1, cpu=2), unit("half", block=1, gpu=0.5))
    wide = unit("wide", block=2, gpu=2)
    placement.sweep.waiting.append(wide)
    placement.begin(next(iter(fill(placement))))
    free = {"small": {"CPU": 1.0}, "large": {}}
    placement.watch(lambda: free)
    clock.s += 100.0
    placement.watch(lambda: free)
    assert {s.gpu: placement.shape(u.needs).avoid for u in placement.sweep.waiting for s in [u.needs]} == {
        1: (), 0.5: ("large",), 2: ("large",)
    }  # fmt: skip
    placement._turn.node = "small"
    assert placement.shape(wide.needs).avoid == ()


def test_nothing_is_kept_where_all_that_waits_has_one_shape(of, clock):
    placement = of(*[unit(f"one{i}", gpu=1) for i in range(9)])
    placement.begin(next(iter(fill(placement))))
    placement.watch(dict)
    clock.s += 100.0
    placement.watch(dict)
    assert not placement.sweep.held


def test_a_node_that_was_kept_and_died_is_replaced(of, clock):
    more = [unit("runs", gpu=1), unit("wide", block=1, gpu=2), unit("next", block=1, gpu=1)]
    placement = of(*more, nodes={**NODES, "other": LARGE})
    placement.begin(next(iter(fill(placement))))
    placement.watch(dict)
    clock.s += 100.0
    placement.watch(dict)
    later = unit("later", gpu=1)
    assert placement.shape(later.needs).avoid == ("large",)
    placement.nodes = {"small": SMALL, "other": LARGE}
    placement.watch(dict)
    assert placement.shape(later.needs).avoid == ("other",)


def test_a_gpu_that_is_too_small_is_kept_away_from(of):
    placement = of(unit("big", gpu=1, gpu_mem_gb=40.0), unit("small", gpu=1), unit("cpu"))
    placement.gpu_gb = {"small": 24.0, "large": 80.0}
    avoid = {u.key: placement.shape(u.needs).avoid for u in placement.sweep.waiting}
    assert avoid == {"big": ("small",), "small": (), "cpu": ()}
    anywhere = next(t for t, s in fill(placement).items() if s.gpu == 1 and not s.avoid)
    assert placement.begin(anywhere).key == "small", "it may have been placed where the other does not fit"


def test_a_type_of_gpu_is_asked_of_ray(of):
    nodes = {"small": SMALL, "large": {**LARGE, "accelerator_type:H100": 1.0}}
    placement = of(unit("typed", gpu=1, accelerator="H100"), unit("any", gpu=1), nodes=nodes)
    asked = {t: s.of() for t, s in fill(placement).items()}
    typed = next(t for t, s in asked.items() if "accelerator_type:H100" in s)
    assert asked[typed]["accelerator_type:H100"] == 0.001
    assert placement.begin(typed).key == "typed"
    (other,) = placement.pending
    assert placement.begin(other).key == "any"


@pytest.fixture
def on_nodes(of, monkeypatch):
    """A run on a cluster of the nodes above, of which nothing is asked."""
    from bench.engine import tune

    nodes = [
        {"NodeID": n, "NodeManagerHostname": n, "Alive": True, "Resources": dict(r)} for n, r in NODES.items()
    ]
    monkeypatch.setattr(tune, "_nodes", lambda: nodes)
    monkeypatch.setattr(tune, "RollCall", lambda units, url: None)

    def run(*units, types=None, wait_s=0.0):
        monkeypatch.setattr(tune, "node_types", lambda: types)
        sweep = of(*units).sweep
        sweep.store = SimpleNamespace(url="")
        return tune._Run(sweep, (), False, 4, wait_s)

    return run


EIGHT = {"CPU": 64.0, "GPU": 8.0, "memory": 512.0 * GB}


@pytest.mark.ray
def test_what_neither_a_node_holds_nor_one_that_may_start_is_left_out_and_stays_new(on_nodes):
    run = on_nodes(unit("fits", gpu=2), unit("eight", gpu=8), unit("nine", gpu=9), types=[EIGHT])
    run._fit_in()
    assert run.sweep.too_large == {
        "nine": "nine needs gpu 9; the largest machine here has 8 (see needs: in bench.yaml)"
    }
    assert [u.key for u in run.sweep.waiting] == ["fits", "eight"]
    assert run.sweep.ended == []


@pytest.mark.ray
def test_a_type_of_gpu_that_no_node_has_is_told_and_left_out(on_nodes):
    run = on_nodes(unit("any", gpu=1), unit("typed", gpu=1, accelerator="H100"), types=[EIGHT])
    run._fit_in()
    assert run.sweep.too_large == {
        "typed": "typed needs accelerator H100; GPUs here: unknown (see needs: in bench.yaml)"
    }
    run = on_nodes(unit("typed", gpu=1, accelerator="H100"), types=[{**EIGHT, "accelerator_type:H100": 1.0}])
    run._fit_in()
    assert run.sweep.too_large == {}, "the cluster may start one"


@pytest.mark.ray
def test_where_the_cluster_does_not_tell_one_may_hope_for_a_while(on_nodes):
    run = on_nodes(unit("fits"), unit("eight", gpu=8), wait_s=600.0)
    run._fit_in()
    assert run.sweep.too_large == {}
    assert [s.gpu for s in fill(run.placement).values()] == [8, 0], "an autoscaler sees it"
    run.hope_until = 0.0
    run._fit_in()
    assert list(run.sweep.too_large) == ["eight"]
    run.placement.look()
    assert len(run.placement.surplus) == 1, "it is asked for no more"


# ----------------------------------------------------------------------------- nodes that get no more cells


@pytest.fixture
def run(on_nodes, monkeypatch):
    """A run of two cells on two nodes."""
    from bench.engine import tune

    monkeypatch.setattr(tune, "leaving", lambda nodes: {})
    return on_nodes(unit("one"), unit("two"))


def report(run, key, **changed):
    said = dict.fromkeys(("status", "reason", "ended", "stop", "lost", "no_room", "crowded"), "")
    return {**said, "key": key, "node": "small-host", "node_id": "small", **changed}


def begun(run, trial):
    run.placement.look()
    assert run.feed.suggest(trial) is not None
    return run.feed.begin(trial)[0]


@pytest.mark.ray
def test_a_node_without_room_gets_no_more_cells_and_its_cell_goes_elsewhere(run):
    key = begun(run, "a")
    run.feed.on_trial_complete("a", report(run, key, no_room="0.00 GB are free in /tmp"))
    assert run.sweep.ended == []
    first = run.sweep.waiting[0]
    assert (first.key, first.attempt) == (key, 1), "it costs no attempt"
    run._goes_on()
    assert run.sweep.left_out == {"small": "node small-host: 0.00 GB are free in /tmp"}
    assert {s.avoid for s in fill(run.placement, "n").values()} == {("small",)}
    assert not run.sweep.error
    trial = next(iter(run.placement.pending))
    key = run.feed.begin(trial)[0]
    run.feed.on_trial_complete(
        trial, report(run, key, no_room="full too", node_id="large", node="large-host")
    )
    run._goes_on()
    assert run.sweep.error.startswith("no node can run cells any more:\nnode small-host: 0.00 GB")


@pytest.mark.ray
def test_a_node_that_is_about_to_go_gets_no_more_cells(on_nodes, monkeypatch):
    from bench.engine import tune

    run = on_nodes(unit("one"), unit("two"))
    monkeypatch.setattr(tune.cluster, "get_draining_nodes", lambda: {"large": 0, "another": 0})
    key = begun(run, "a")
    run.looked = 0.0
    run._goes_on()
    assert run.sweep.left_out == {"large": "node large: the cluster is about to take it away"}
    run.placement.look()
    assert {s.avoid for s in fill(run.placement, "n").values()} == {("large",)}
    assert [u.key for u, _ in run.sweep.running()] == [key], "what runs there may run until it is gone"
    monkeypatch.setattr(tune.cluster, "get_draining_nodes", dict)
    run.looked = 0.0
    run._goes_on()
    assert run.sweep.left_out == {}


@pytest.mark.ray
def test_a_worker_that_rays_memory_monitor_ends_is_lost_and_bounded(run, tmp_path):
    from types import SimpleNamespace

    from bench.engine.cluster.feed import GONE, Withdrawal, why_gone

    assert why_gone("The actor is dead because its node has died.") == GONE
    error = tmp_path / "error.txt"
    error.write_text(
        "Failure # 1\nTask was killed due to the node running low on memory.\nMemory on the node"
    )
    written = []
    run.sweep.store = SimpleNamespace(write=written.append, url="")
    while not written:
        key = begun(run, trial := f"t{len(run.feed.trials)}{run.sweep.waiting[0].attempt}")
        Withdrawal(run.feed).on_trial_error(None, SimpleNamespace(trial_id=trial, error_file=str(error)))
        run.feed.on_trial_complete(trial, error=True)
    (record,) = written
    assert (record.key, record.status, record.attempts) == (key, "lost", 3)
    assert record.reason.endswith("its node ran out of memory, and Ray ended it")
