"""Sweeps on Ray against plain Ray Tune, in the same run on the same machine; and how busy the workers are.

Run by hand: ``make perf``. Prints ratios; asserts only what has a wide margin.
"""

import time
from datetime import datetime
from pathlib import Path

import pytest

from bench.engine.execute import execute
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1500)]
FAULTS = Path(__file__).parents[1] / "stubs" / "faults.py"
WORKERS = 2


def sweep(folder: Path, seeds: int, seconds: float, *, local: bool = False) -> tuple[float, float, Store]:
    """Wall seconds of a sweep of `fine` cells on two sizes, the part of it in which cells ran, and its store."""
    suite = folder / "suite.yaml"
    suite.write_text(
        f"profiles: {{laptop: {{seeds: {seeds}}}}}\n"
        f"tracks: {{faults: {{ranks_by: value, laptop: {{grid: {{sizes: [1, 2]}}, run: {{seconds: {seconds}}}}}}}}}\n"
    )
    store = Store.open(folder / "store")
    registry = Registry(plugins=[FAULTS])
    plan = make_plan(Suite.read(suite), registry, store, "laptop", tracks=["faults"], wanted=Filter(["fine"]))
    start = time.monotonic()
    done = execute(plan, registry, store, local=local, cpus=WORKERS)
    wall = time.monotonic() - start
    assert {e.status for e in done.ended} == {"ok"}
    assert len(done.ended) == 2 * seeds
    records = [store.read(k) for k in store.summaries()]
    begin = min(datetime.fromisoformat(r.started) for r in records)
    end = max(datetime.fromisoformat(r.ended) for r in records)
    return wall, (end - begin).total_seconds(), store


def plain_tune(trials: int, folder: Path) -> float:
    """Wall seconds of as many trivial trials in plain Ray Tune, an actor each (its default)."""
    import ray
    from ray import tune

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        space = {"i": tune.grid_search(list(range(trials)))}
        config = tune.RunConfig(storage_path=str(folder), name="plain", verbose=0)
        start = time.monotonic()
        tune.Tuner(lambda config: {"value": config["i"]}, param_space=space, run_config=config).fit()
        return time.monotonic() - start
    finally:
        ray.shutdown()


def test_200_trivial_cells_against_plain_ray_tune(tmp_path):
    peer = plain_tune(60, tmp_path / "peer") / 60
    wall, _, _ = sweep(tmp_path, seeds=100, seconds=0)
    ours = wall / 200
    print(
        f"\n200 trivial isolated cells: {ours:.3f} s a cell (start of Ray included); plain Ray Tune {peer:.3f} s a"
    )
    print(f"trial (start of Ray not included): ratio {ours / peer:.2f} (bar 0.25)")
    assert ours < 0.5 * peer


def test_200_trivial_cells_without_ray(tmp_path):
    wall, _, _ = sweep(tmp_path, seeds=100, seconds=0, local=True)
    print(f"\n200 trivial isolated cells, --local: {wall / 200:.3f} s a cell")


@pytest.mark.parametrize(("seconds", "seeds"), [(5, 12), (30, 4)])
def test_busy_share(tmp_path, seconds, seeds):
    _, span, store = sweep(tmp_path, seeds=seeds, seconds=seconds)
    heads = store.summaries().values()
    busy = sum(h.cost["load_s"] + h.cost["run_s"] + h.cost["score_s"] for h in heads)
    share = busy / (WORKERS * span)
    print(f"\nbusy share of {WORKERS} workers over {len(heads)} cells of {seconds} s: {share:.1%} (bar 95 %)")
    assert share > 0.85
