"""How long a store of 10,000 and of 100,000 records takes to read, and how much memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from bench.contract import Cell, Record
from bench.store.encoding import dump
from bench.store.records import Store
from bench.store.segments import write_segment

READ = """
import json, re, sys, time
from bench.store.records import Store
def peak_mib():  # ru_maxrss would start at what the parent had when it forked
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
bare = peak_mib()
start = time.perf_counter()
store = Store.open(sys.argv[1])
heads = store.summaries()
took = time.perf_counter() - start
start = time.perf_counter()
store.summaries()
again = time.perf_counter() - start
peak = peak_mib()
assert not store.problems
print(json.dumps([len(heads), took, again, peak, bare, len({id(h.ran_with) for h in heads.values()})]))
"""


def lines(start: int, stop: int) -> list[bytes]:
    rng = random.Random(start)
    code, ran_with = f"sha256-{0:032x}.json", {"run": {f"setting_{j}": j for j in range(12)}, "recipe": {}}
    made = []
    for i in range(start, stop):
        cell = Cell(
            track="embedding_scale", track_version=1, task=f"flights-{i % 5}x", task_version=1,
            row=f"multi/net-{i % 40}", row_version=1, hp={"lr": 1e-3, "sets": 4}, seed=i, run={"epochs": 3},
        )  # fmt: skip
        made.append(dump(Record(
            key=cell.key, kind="cell", cell=cell.declared(), status="ok",
            metrics={f"metric_{j}": rng.random() for j in range(8)},
            series={"spectrum": {"dims": ["k"], "coords": {}, "data": [rng.random() for _ in range(40)]}},
            cost={f"{c}_s": rng.random() for c in ("load", "run", "score", "snapshot")} | {"peak_mem_mb": 812},
            limits={"minutes": 10, "mem_gb": 4}, where={"host": "n", "label": "Fast CPU × 2", "cpus": 2},
            provenance={"code": code, "ran_with": ran_with, "data": "flights-1", "stages": {}, "commit": "c" * 40,
                        "packages": {f"package-{j}": "1.2.3" for j in range(10)}},
            log=[f"2026-01-01 00:00:00 epoch {j}: loss {rng.random():.5f}" for j in range(10)],
            started="2026-01-01T00:00:00.000000+00:00", ended="2026-01-01T00:10:00.000000+00:00",
        )))  # fmt: skip
    return made


@pytest.mark.perf
@pytest.mark.parametrize(("n", "seconds", "megabytes"), [(10_000, 0.5, 200), (100_000, 3.0, 700)])
def test_a_sealed_store_is_read_in_seconds(tmp_path, capsys, n, seconds, megabytes):
    store = Store.open(tmp_path)
    for i in range(0, n, 20_000):
        write_segment(store._files, i // 20_000 + 1, lines(i, min(i + 20_000, n)))
    out = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found, took, again, peak, bare, mappings = json.loads(out.stdout)
    size = sum(p.stat().st_size for p in (tmp_path / "segments").iterdir()) / 2**20
    with capsys.disabled():
        print(
            f"\n{n} records, {size:.0f} MiB: heads in {took:.2f} s (bar {seconds} s), "
            f"again in {again * 1e3:.0f} ms; "
            f"peak memory {peak:.0f} MiB, {bare:.0f} of it before (bar {megabytes} MiB)"
        )
    assert (found, mappings) == (n, 1)
    assert peak < megabytes
