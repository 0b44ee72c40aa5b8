"""A 10,000-cell plan with a full store, and a board from 100,000 records, each in a fresh process (``make perf``)."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = [pytest.mark.perf, pytest.mark.timeout(900)]
FAULTS = Path(__file__).parents[1] / "stubs" / "faults.py"

FILL = """
import sys
from dataclasses import asdict
from bench.contract import Record
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite
registry = Registry(plugins=[{faults!r}])
store = Store.open({store!r})
plan = make_plan(Suite.read({suite!r}), registry, store, "laptop", tracks=["faults"], wanted=Filter(["fine", "raises"]))
rests = plan.cells[0].dependencies
store.artifacts.put(rests.code.listing, "json")
series = {{"spectrum": {{"dims": ["k"], "coords": {{"k": list(range(40))}}, "data": [1 / (k + 1) for k in range(40)]}}}}
segment = []
from bench.store.encoding import dump
from bench.store.segments import write_segment
for i, c in enumerate(plan.cells):
    r = Record(
        key=c.key, kind="cell", cell=c.cell.declared(), status="ok", series=series,
        metrics={{"value": i % 97 / 97, "size": 1.0, **{{f"m{{k}}": k + i / 7 for k in range(6)}}}},
        cost={{"load_s": 1.0, "run_s": 2.0, "score_s": 0.5, "peak_mem_mb": 300.0}},
        where={{"label": "some CPU x 2", "host": "h", "threads": 1}},
        provenance={{"code": c.dependencies.code.name, "ran_with": dict(c.dependencies.ran_with), "data": "", "stages": {{}}, "commit": "abc", "packages": {{f"p{{k}}": "1.0" for k in range(15)}}}},
        log=[f"line {{k}} of the log of this cell" for k in range(10)],
        started="2026-01-01T00:00:00.000+00:00", ended="2026-01-01T00:00:03.000+00:00",
    )
    segment.append(dump(r))
for n in range(0, len(segment), 20000):
    write_segment(store._files, n // 20000 + 1, segment[n:n + 20000])
store.write(r)
print(len(plan.cells))
"""

MEASURE = """
import resource, time
start = time.monotonic()
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite
registry = Registry(plugins=[{faults!r}])
store = Store.open({store!r})
plan = make_plan(Suite.read({suite!r}), registry, store, "laptop", tracks=["faults"], wanted=Filter(["fine", "raises"]))
planned = time.monotonic() - start
assert not store.problems, store.problems[:3]
have = sum(c.summary is not None for c in plan.cells)
print(f"plan of {{len(plan.cells)}} cells, {{have}} with a record: {{planned:.2f}} s", end="; ")
if {board}:
    from pathlib import Path
    from bench.board.text import markdown
    from bench.board.collect import boards
    text = markdown.render(boards(plan, store, Path("/nowhere"))[0])
    print(f"and its board: {{time.monotonic() - start:.2f}} s", end="; ")
print(f"peak memory {{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}} MB")
"""


@pytest.mark.parametrize(("cells", "board"), [(10_000, False), (100_000, True)])
def test_plan_and_board(tmp_path, cells, board):
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"profiles: {{laptop: {{seeds: {cells // 200}}}}}\n"
        f"tracks: {{faults: {{ranks_by: value, laptop: {{grid: {{sizes: {list(range(100))}}}}}}}}}\n"
    )
    words = {"faults": str(FAULTS), "store": str(tmp_path / "store"), "suite": str(suite), "board": board}
    for script in (FILL, MEASURE):
        code = textwrap.dedent(script.format(**words))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    print("\n" + done.stdout)
