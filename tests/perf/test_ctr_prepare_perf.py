"""Preparing a log in Criteo's layout: time a row against a plain loop over lines, and peak memory.

Run by hand: ``make perf``. Prints ratios; asserts only what has a wide margin.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.perf, pytest.mark.timeout(900)]
REFERENCE = Path(__file__).parents[1] / "data" / "ctr_reference.py"
#: Distinct values a column can take, as in the real log: a few have millions.
SIZES = (
    1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194, 27, 14_992,
    5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
)  # fmt: skip

PREPARE = """
import json, re, time
import pandas, pyarrow.csv, torch
from bench.data.tables import ctr_prepare
def peak_mib():  # ru_maxrss would start at what the parent had when it forked
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
bare, start = peak_mib(), time.perf_counter()
manifest = ctr_prepare.prepare("criteo", partial=True)
print(json.dumps([manifest.rows, sum(manifest.cardinalities), time.perf_counter() - start, peak_mib(), bare]))
"""


def hashed(values: np.ndarray) -> np.ndarray:
    """(n,) integers -> (n,) eight hexadecimal digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    mixed = (values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    nibbles = mixed[:, None] >> np.arange(28, -4, -4, dtype=np.uint64)
    return np.ascontiguousarray(digits[nibbles & np.uint64(15)]).view("S8")[:, 0]


def write(path: Path, rows: int) -> Path:
    """A log of 260 bytes a row: skewed values, the more distinct the more rows, integers with gaps."""
    import pyarrow as pa
    from pyarrow import csv

    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with open(path, "wb") as out:
        for at in range(0, rows, 100_000):
            n = min(100_000, rows - at)
            columns = {"label": (rng.random(n) < 0.256).astype(np.int8)}
            for i in range(13):
                v = np.floor(rng.lognormal(1 + i / 4, 2, n)).astype(np.int64) - 2 * (i == 1)
                columns[f"I{i}"] = pa.array(v, mask=rng.random(n) < 0.1 * (i % 5))
            for i, size in enumerate(SIZES):
                v = hashed((size * rng.random(n) ** 4).astype(np.int64) + i * 2**40)
                columns[f"C{i}"] = pa.array(v, mask=rng.random(n) < 0.24 * (i % 4 == 3)).cast(pa.string())
            how = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
            csv.write_csv(pa.table(columns), out, how)
    return path


def prepared(folder: Path) -> tuple[int, int, float, float, float]:
    """Rows, indices, seconds, peak MiB, and MiB with nothing but the libraries, of a process of its own."""
    env = {**os.environ, "BENCH_DATA": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PREPARE], env=env, capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


def looped(path: Path, rows: int) -> float:
    """Seconds of the loop over lines, to the same two arrays in the same order on disk."""
    spec = importlib.util.spec_from_file_location("ctr_reference", REFERENCE)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    start = time.perf_counter()
    indices, labels, _ = reference.prepare(path, "criteo")
    order = [i for part in reference.split(rows) for i in part]
    np.save(path.with_name("x.npy"), np.array(indices, np.int32)[order])
    np.save(path.with_name("y.npy"), np.array(labels, np.uint8)[order])
    return time.perf_counter() - start


def test_preparation_against_a_loop_over_lines_and_its_memory(tmp_path):
    loop_rows = 100_000
    loop = looped(write(tmp_path / "loop" / "train.txt", loop_rows), loop_rows) / loop_rows
    peaks, told = [], []
    for rows in (500_000, 2_000_000):
        folder = tmp_path / str(rows)
        path = write(folder / "criteo" / "train.txt", rows)
        found, indices, seconds, peak, bare = prepared(folder)
        path.unlink()
        assert found == rows
        peaks.append(peak)
        told.append((rows, indices, seconds / rows, peak, bare))
    print(
        f"\na loop over {loop_rows:,} lines: {loop * 1e6:.1f} µs a row; {len(os.sched_getaffinity(0))} cores"
    )
    for rows, indices, each, peak, bare in told:
        print(
            f"{rows:,} rows, {indices:,} indices: {each * 1e6:.2f} µs a row, ratio {loop / each:.1f} (bar 10);"
            f" peak {peak:.0f} MiB, {bare:.0f} of it libraries"
        )
    print(f"four times the rows: {peaks[1] / peaks[0]:.2f} times the memory")
    assert loop / told[-1][2] > 5
    assert peaks[1] < 1.15 * peaks[0]
