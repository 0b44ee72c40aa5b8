"""Sweeps on three nodes of a Ray cluster in one machine: cells of five shapes on pretended GPUs, and many trivial
cells against plain Ray Tune with an actor a trial, in the same run.

Run by hand: ``make perf``. Prints ratios; asserts only what has a wide margin.
"""

import resource
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from bench.engine.execute import execute
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

pytestmark = [pytest.mark.perf, pytest.mark.timeout(3600)]
FAULTS = Path(__file__).parents[1] / "stubs" / "faults.py"

#: Name -> processors, GPUs and number of cells of one second: 30 seconds of a GPU, 10 on three.
SHAPES = {
    "two": (1, 2, 6), "one": (1, 1, 6), "broad": (2, 1, 6), "half": (1, 0.5, 6), "quarter": (1, 0.25, 12),
}  # fmt: skip

PLUGIN = """
import time
from dataclasses import dataclass
from bench.contract import Metric, Needs, Score, Task, Track, method

@dataclass(frozen=True)
class Grid:
    cells: int = 12

@dataclass(frozen=True)
class Run:
    seconds: float = 1.0

class Shapes(Track):
    name = "shapes"
    metrics = (Metric(name="value", better="higher"),)
    reference = "one"
    Grid, Run = Grid, Run
    def tasks(self, grid): return [Task(name="t", params={})]
    def load(self, task, run, inputs): return run.seconds
    def truth(self, task, run, inputs): return 1.0
    def score(self, task, answer, truth, history): return Score(metrics={"value": answer})
    def smoke(self): return Grid(), Run()

TRACK = Shapes()
"""


def plugin(folder: Path) -> Path:
    path = folder / "shapes.py"
    rows = [
        f'@method("shapes", name="{name}", needs=Needs(cpu={cpu}, gpu={gpu}, mem_gb=1))\n'
        f"def {name}(data, hp, ctx):\n    time.sleep(data)\n    return 1.0\n"
        for name, (cpu, gpu, _) in SHAPES.items()
    ]
    path.write_text(PLUGIN + "\n" + "\n\n".join(rows))
    return path


@pytest.fixture
def cluster():
    """Makes nodes of that many processors and pretended GPUs beside a head that only drives."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})

    def nodes(*sizes):
        for cpus, gpus in sizes:
            made.add_node(num_cpus=cpus, num_gpus=gpus)
        made.wait_for_nodes()
        return made.address

    yield nodes
    ray.shutdown()
    made.shutdown()


class Watch:
    """The most node processes that ran at once, and how long cells waited for a node that was kept free."""

    def __init__(self, store: Path) -> None:
        self.store, self.most, self.held = str(store), 0, set()

    def __call__(self, sweep) -> None:
        if sweep.held:
            self.held.add(sweep.held)
        words = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
        self.most = max(self.most, sum("cluster.node" in w and self.store in w for w in words))


def run(folder: Path, plugins, suite: str, track: str, address: str, rows=(), watch=None):
    """A sweep; returns it, its store, wall seconds and the driver's own seconds of processor."""
    (folder / "suite.yaml").write_text(suite)
    store, registry = Store.open(folder / "store"), Registry(plugins=plugins)
    plan = make_plan(
        Suite.read(folder / "suite.yaml"), registry, store, "laptop", tracks=[track], wanted=Filter(rows)
    )
    start, cpu = time.monotonic(), time.process_time()
    how = {"on_change": watch} if watch is not None else {}
    sweep = execute(plan, registry, store, address=address, **how)
    return sweep, store, time.monotonic() - start, time.process_time() - cpu


def test_five_shapes_on_three_gpus(tmp_path, cluster):
    address = cluster((4, 2), (4, 1))
    seeds = max(n for _, _, n in SHAPES.values())
    suite = (
        f"profiles: {{laptop: {{seeds: {seeds}}}}}\n"
        "tracks: {shapes: {ranks_by: value, laptop: {run: {seconds: 1.0}}}}\n"
    )
    registry = Registry(plugins=[plugin(tmp_path)])
    (tmp_path / "suite.yaml").write_text(suite)
    store = Store.open(tmp_path / "store")
    plan = make_plan(Suite.read(tmp_path / "suite.yaml"), registry, store, "laptop", tracks=["shapes"])
    plan.cells[:] = [c for c in plan.cells if c.cell.seed < SHAPES[c.row][2]]
    assert len(plan.cells) == 36
    watch = Watch(tmp_path / "store")
    sweep = execute(plan, registry, store, address=address, on_change=watch)
    assert Counter(e.status for e in sweep.ended) == {"ok": 36}
    records = [store.read(k) for k in store.summaries()]
    begin = min(datetime.fromisoformat(r.started) for r in records)
    end = max(datetime.fromisoformat(r.ended) for r in records)
    span, bound = (end - begin).total_seconds(), sum(gpu * n for _, gpu, n in SHAPES.values()) / 3
    print(f"\n36 cells of 1 s in five shapes on 3 GPUs: {span:.1f} s, {span / bound:.1f} × bound (bar 4)")
    print(f"processes with a fork server: {watch.most} (nodes: 2); kept free: {sorted(watch.held)}")
    assert watch.most == 2


@pytest.mark.parametrize("cells", [500, 2000])
def test_trivial_cells_against_plain_ray_tune(tmp_path, cluster, cells):
    address = cluster((2, 0), (2, 0), (2, 0))
    peer = plain_tune(60, tmp_path / "peer", address) / 60
    suite = (
        f"profiles: {{laptop: {{seeds: {cells // 2}}}}}\n"
        "tracks: {faults: {ranks_by: value, laptop: {grid: {sizes: [1, 2]}, run: {seconds: 0.0}}}}\n"
    )
    sweep, _, wall, cpu = run(tmp_path, [FAULTS], suite, "faults", address, ["fine"])
    assert Counter(e.status for e in sweep.ended) == {"ok": cells}
    ours, most = wall / cells, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{cells} trivial cells on 6 slots of 3 nodes: {ours:.3f} s a cell; plain Ray Tune {peer:.3f} s a"
    )
    print(
        f"trial: ratio {ours / peer:.3f} (bar 0.15); driver {1000 * cpu / cells:.1f} ms a cell (bar 20), {most:.0f} MB"
    )
    assert ours < 0.5 * peer


def plain_tune(trials: int, folder: Path, address: str) -> float:
    """Wall seconds of as many trivial trials in plain Ray Tune, an actor each (its default)."""
    import ray
    from ray import tune

    ray.init(address=address, log_to_driver=False)
    try:
        space = {"i": tune.grid_search(list(range(trials)))}
        config = tune.RunConfig(storage_path=str(folder), name="plain", verbose=0)
        start = time.monotonic()
        tune.Tuner(lambda config: {"value": config["i"]}, param_space=space, run_config=config).fit()
        return time.monotonic() - start
    finally:
        ray.shutdown()
