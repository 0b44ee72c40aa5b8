"""What is planned, in which order, under which key, in which state, and how long it is said to take."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from bench.contract import BenchError, Record
from bench.plan import Filter, estimate, make_plan
from bench.registry import Registry
from bench.suite import Suite

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def grids(sandbox):
    sandbox.copy("grids")
    sandbox.of("grids", seeds=2, grid={"scales": [1, 4]})
    return sandbox


def keys(plan):
    return {(c.row, c.task.name, c.cell.seed): c.key for c in plan.cells}


def states(plan):
    return {(c.row, c.task.name, c.cell.seed): c.state for c in plan.cells}


# ------------------------------------------------------------------------------------------------------ order


def test_order_is_balanced_over_tracks_seeds_and_ablations(sandbox):
    sandbox.use("grids", "faults")
    sandbox.write(
        {
            "profiles": {"laptop": {"seeds": 2}},
            "tracks": {
                "grids": {
                    "ranks_by": "value",
                    "rows": {"ablations": {"rows": ["multi/shared", "single/wide"], "tasks": ["*-4x"]}},
                    "laptop": {"grid": {"scales": [1, 4]}},
                },
                "faults": {"ranks_by": "value", "laptop": {"grid": {"sizes": [1, 2, 3]}}},
            },
        }
    )
    plan = sandbox.plan("single*", "multi/*", "prior", "fine", "raises")
    blocks = []
    for c in plan.cells:
        at = (c.cell.track, c.task.name, c.cell.seed, c.core)
        if not blocks or blocks[-1] != at:
            blocks.append(at)
    assert blocks == [
        ("grids", "flights-1x", 0, True), ("faults", "size-1", 0, True),
        ("grids", "flights-4x", 0, True), ("faults", "size-2", 0, True),
        ("grids", "flights-1x", 1, True), ("faults", "size-3", 0, True),
        ("grids", "flights-4x", 1, True), ("faults", "size-1", 1, True),
        ("faults", "size-2", 1, True), ("faults", "size-3", 1, True),
        ("grids", "flights-4x", 0, False), ("grids", "flights-4x", 1, False),
    ]  # fmt: skip
    first = [c.row for c in plan.cells if (c.task.name, c.cell.seed) == ("flights-1x", 0)]
    assert first == ["single", "multi/dnn", "prior"]
    assert {c.row for c in plan.cells if not c.core} == {"multi/shared", "single/wide"}
    assert len([c for c in plan.cells if c.row == "prior"]) == 2, (
        "deterministic: once a task, not once a seed"
    )


def test_an_alias_is_the_other_rows_cell_and_runs_when_it_is_asked_for(grids):
    plan = grids.plan()
    found = keys(plan)
    assert found["multi/dnn", "flights-1x", 0] == found["single", "flights-1x", 0]
    assert found["multi/dnn", "flights-4x", 0] != found["single", "flights-4x", 0]
    assert len(plan.to_run()) == len(set(found.values()))
    alias = next(c for c in plan.cells if c.alias_of)
    assert (alias.row, alias.cell.row, alias.alias_of, alias.shown.method.id) == (
        "multi/dnn", "single", "single", "multi",
    )  # fmt: skip
    grids.run("multi/*", k="scale=1,seed=0")
    assert {(r.cell["row"], r.status) for r in grids.records()} == {("single", "ok"), ("multi/shared", "ok")}
    assert states(grids.plan())["single", "flights-1x", 0] == "done"


# ------------------------------------------------------------------------------------------------------- keys


def test_a_key_changes_with_what_is_declared_and_with_nothing_else(grids):
    base = keys(grids.plan())
    at = ("single", "flights-4x", 0)

    def now(*, seeds=2, **changed):
        grids.of("grids", seeds=seeds, **{"grid": {"scales": [1, 4]}, **changed})
        return keys(grids.plan())

    assert now(run={"epochs": 3, "rate": 0.1, "widths": [8, 8]}) == base, (
        "settings at their default say nothing"
    )
    assert now(needs={"*": {"minutes": 99, "cpu": 2}}) == base
    grown = now(grid={"scales": [4, 7, 1]}, seeds=3)
    assert base.items() <= grown.items(), "a grid and the seeds may grow"
    assert now(run={"epochs": 4})[at] != base[at]
    assert now(run={"widths": [8, 9]})[at] != base[at]
    assert now(run={"rate": 1})[at] == now(run={"rate": 1.0})[at]
    changed = now(hp={"single": {"lr": 0.2}})
    assert changed[at] != base[at]
    assert changed["prior", "flights-4x", 0] == base["prior", "flights-4x", 0]
    assert now(hp={"single*": {"lr": 0.1}}) == base, "a search space stands for its default"
    plugin = grids.folder / "grids.py"
    text = plugin.read_text()
    for old, new in {
        'name = "grids"': 'name = "grids"\n    version = 2',
        'params={"dataset": "flights", "scale": s})': 'params={"dataset": "flights", "scale": s}, version=2)',
        '@method("grids", name="Single",': '@method("grids", name="Single", version=2,',
    }.items():
        assert text.count(old) == 1
        plugin.write_text(text.replace(old, new))
        assert now()[at] != base[at], new
    plugin.write_text(text.replace('name="Single"', 'name="Another label"'))
    assert now() == base


# ----------------------------------------------------------------------------------------------------- states


def test_a_changed_source_makes_ok_stale_failed_new_and_a_comment_neither(grids):
    plugin = grids.folder / "grids.py"
    text = plugin.read_text().replace("return 0.5\n", "raise ValueError\n")
    plugin.write_text(text)
    grids.of("grids", grid={"scales": [4]})
    grids.run()
    first = {c.row: c.state for c in grids.plan().cells}
    assert first == {"single": "done", "single/wide": "done", "multi/dnn": "done", "multi/shared": "done",
                     "prior": "failed", "small": "done"}  # fmt: skip
    plugin.write_text(text.replace("return 0.4", "return 0.4  # a comment") + "\n# another\n")
    assert {c.row: c.state for c in grids.plan().cells} == first
    shared = text.replace("return 1.0", "return 1.0 + 0")  # the truth, which every row is scored by
    plugin.write_text(shared)
    plan = grids.plan()
    found = {c.row: c.state for c in plan.cells}
    assert found == {**dict.fromkeys(first, "stale"), "prior": "new", "small": "done"}
    (cause,) = next(c for c in plan.cells if c.row == "single").causes
    assert re.fullmatch(r"Grids.truth changed since \w+", cause)
    assert [c.row for c in plan.to_run()] == ["prior"]
    assert len(plan.to_run(stale=True)) == 5
    assert [c.row for c in plan.to_run(failed=True)] == ["prior"]
    grids.run(stale=True)
    assert {c.row: c.state for c in grids.plan().cells} == first
    plugin.write_text(shared.replace("return 0.6", "return 0.61"))
    found = {c.row: c.state for c in grids.plan().cells}
    assert found == {**first, "multi/dnn": "stale", "multi/shared": "stale"}, "its own rows and no other"


@pytest.mark.parametrize("status", ["lost", "failed", "timeout", "oom", "diverged"])
def test_a_cell_whose_data_are_missing_is_blocked_however_it_ended(grids, status):
    """It could only fail for want of its data."""
    grids.of("grids", grid={"scales": [99]})
    planned = {c.row: c for c in grids.plan().cells}
    cell = planned["single"].cell
    error = {"type": status, "message": "then", "last_lines": []}
    limits = {"cpu": 1, "gpu": 0, "gpu_mem_gb": None, "mem_gb": 1, "minutes": 1}
    grids.store().write(
        Record(key=cell.key, kind="cell", cell=cell.declared(), status=status, error=error, limits=limits)
    )
    plan = grids.plan("single")
    (found,) = (c for c in plan.cells if c.row == "single")
    assert found.summary.status == status
    assert (found.state, found.reason) == ("blocked", "big.csv is not here; download it from nowhere")
    assert plan.to_run(stale=True, failed=True) == []


def test_a_number_stands_though_its_data_are_gone(grids, monkeypatch, tmp_path):
    (tmp_path / "big.csv").write_text("")
    monkeypatch.setenv("GRIDS_DATA", str(tmp_path))
    grids.of("grids", grid={"scales": [99]})
    grids.run("single")
    (tmp_path / "big.csv").unlink()
    assert {c.state for c in grids.plan("single").cells} == {"done"}


def test_changed_data_is_a_cause_and_missing_data_blocks(grids, monkeypatch, tmp_path):
    grids.of("grids", grid={"scales": [4, 99]})
    plan = grids.plan("single")
    assert [(c.state, c.reason) for c in plan.cells if c.row == "single"] == [
        ("new", ""),
        ("blocked", "big.csv is not here; download it from nowhere"),
    ]
    assert plan.count() == {"new": 1, "blocked": 1}
    assert len(plan.to_run(stale=True, failed=True)) == 1
    grids.run("single")
    monkeypatch.setenv("GRIDS_FINGERPRINT", "two")
    monkeypatch.setenv("GRIDS_DATA", str(tmp_path))
    (tmp_path / "big.csv").touch()
    plan = grids.plan("single")
    assert [(c.state, list(c.causes)) for c in plan.cells if c.row == "single"] == [
        ("stale", ["data of flights-4x changed"]),
        ("new", []),
    ]
    grids.run("single", stale=True)
    (tmp_path / "big.csv").unlink()
    assert [c.state for c in grids.plan("single").cells if c.row == "single"] == ["done", "done"], (
        "what was recorded stands though the data are gone"
    )


def test_a_skip_is_recorded_with_its_reason_and_stands_as_long_as_it_is_declared(grids):
    grids.of("grids", grid={"scales": [4]})
    (cell,) = grids.plan("small").cells
    assert (cell.state, cell.skip, cell.reason) == ("new", "too large", "too large")
    grids.run("small")
    (record,) = grids.records()
    assert (record.status, record.reason) == ("skipped", "too large")
    assert [(c.state, c.reason) for c in grids.plan("small").cells] == [("done", "too large")]
    plugin = grids.folder / "grids.py"
    plugin.write_text(plugin.read_text().replace("> 1 else None", "> 4 else None"))
    assert [c.state for c in grids.plan("small").cells] == ["new"]
    grids.run("small")
    assert [r.status for r in grids.records()] == ["ok"]


# -------------------------------------------------------------------------------------------------- selection


def test_filters(grids):
    def rows(*m, k=""):
        return sorted({(c.row, c.task.name, c.cell.seed) for c in grids.plan(*m, k=k).cells})

    assert rows("single", k="scale=4,seed=1") == [("single", "flights-4x", 1)], "its exact name: it alone"
    assert rows("single*", k="scale=4,seed=1") == [
        ("single", "flights-4x", 1), ("single/wide", "flights-4x", 1),
    ]  # fmt: skip
    assert rows("single/*", k="scale=1|4,seed=0") == [
        ("single/wide", "flights-1x", 0), ("single/wide", "flights-4x", 0),
    ]  # fmt: skip
    assert {r[1] for r in rows("prior", k="4x")} == {"flights-4x"}
    assert {r[1] for r in rows("prior", k="4x | ghts-1")} == {"flights-1x", "flights-4x"}
    assert {r[1] for r in rows("prior", k="task=*-1x")} == {"flights-1x"}
    assert grids.plan("prior").filtered
    assert not grids.plan().filtered
    for bad, said in {
        "sclae=1": "no task has a 'sclae' to select by; did you mean 'scale'?",
        "dataste=x": "did you mean 'dataset'?",
        "scale=7": "-k scale=7: no scale is '7'; there is 1, 4",
        "scale=1|7": "no scale is '7'; there is 1, 4",
        "seed=2": "no seed is '2'; there is 0, 1",
        "flihgts-4x": "no task is '*flihgts-4x*'; did you mean 'flights-4x'?",
        "4x|hotels": "no task is '*hotels*'; there is flights-1x, flights-4x (in the profile laptop)",
        "task=*-4x,scale=1": "no cell is selected by -k task=*-4x,scale=1 together",
    }.items():
        with pytest.raises(BenchError, match=re.escape(said)):
            grids.plan(k=bad)
    for bad, said in {
        "singel": "-m singel: no row matches; did you mean 'single'?",
        "pri": "-m pri: no row matches; 'pri*' would select prior",
        "multi": "-m multi: no row matches; its variants are rows: 'multi/*'",
        "mine": "no row matches; there is multi/dnn, multi/shared, prior, single, single/wide, small"
        " (rows of a file of your own need --plugin FILE)",
    }.items():
        with pytest.raises(BenchError, match=re.escape(said)):
            grids.plan(bad)


def test_a_row_that_the_profile_leaves_out_and_an_ablation_elsewhere_are_named(grids):
    values = {
        "profiles": {"laptop": {"seeds": 1}},
        "tracks": {
            "grids": {
                "ranks_by": "value",
                "rows": {"core": ["single"], "ablations": {"rows": ["multi/*"], "tasks": ["*-4x"]}},
                "laptop": {"grid": {"scales": [1, 4]}},
            }
        },
    }
    grids.write(values)
    assert {c.row for c in grids.plan().cells} == {"single", "multi/dnn", "multi/shared"}
    with pytest.raises(BenchError, match=re.escape("-m prior: prior is declared, but the suite's `rows`")):
        grids.plan("prior")
    with pytest.raises(BenchError, match=re.escape("together; ablations run on *-4x alone")):
        grids.plan("multi/*", k="scale=1")
    assert {c.row for c in grids.plan(profile="smoke").cells} > {"prior", "small"}, "checks see every row"


def test_two_tasks_of_one_name_are_an_error(grids):
    (plugin,) = map(Path, grids.plugins)
    plugin.write_text(plugin.read_text().replace('f"flights-{s}x"', '"flights"'))
    grids.of("grids", grid={"scales": [1, 4]})
    with pytest.raises(BenchError, match="track grids: two tasks have one name"):
        grids.plan()


# --------------------------------------------------------------------------------------------------- estimate


def test_estimates_rest_on_the_row_on_the_task_then_the_row_then_the_method(grids):
    assert estimate(grids.plan().cells).known == 0
    grids.run("single*", k="scale=4,seed=0")
    store = grids.store()
    from dataclasses import replace

    spent = {"single": 8.0, "single/wide": 20.0}
    for r in grids.records():
        cost = {"load_s": 1.0, "run_s": spent[r.cell["row"]] - 2, "score_s": 0.5, "snapshot_s": 0.5}
        store.write(replace(r, cost=cost, ended="2999-01-01T00:00:00+00:00"))
    known = {(c.row, c.task.name, c.cell.seed): c.seconds for c in grids.plan().cells}
    assert known["single", "flights-4x", 1] == 8.0, "the same row on the same task"
    assert known["single/wide", "flights-1x", 0] == 20.0, "the same row elsewhere"
    assert known["prior", "flights-4x", 0] is None
    grids.of("grids", seeds=2, grid={"scales": [1, 4]}, run={"epochs": 9})
    assert estimate(grids.plan().cells).known == 0, "records with other settings say nothing"
    grids.of("grids", seeds=2, grid={"scales": [1, 4]})
    todo = grids.plan("single*", "prior", k="scale=1").to_run()
    e = estimate(todo)
    assert (e.cells, e.known) == (5, 4)
    assert e.seconds == pytest.approx(8 + 20 + 8 + 20 + 14), "one never seen counts as the median"


def test_an_estimate_says_between_which_bounds_it_is(grids):
    from dataclasses import replace

    grids.of("grids", seeds=3, grid={"scales": [4]})
    grids.run("single", "prior")
    store = grids.store()
    for r in grids.records():
        took = {"single": 100.0 + 10 * r.cell["seed"], "prior": 30.0}[r.cell["row"]]
        cost = {"run_s": took} if r.cell["seed"] != 1 else {"run_s": 4 * took, "gpu_shared": 4.0}
        store.write(replace(r, cost=cost, ended="2999-01-01T00:00:00+00:00"))
    cells = {(c.row, c.cell.seed): c.timing for c in grids.plan().cells}
    single, prior = cells["single", 0], cells["prior", 0]
    assert (single.low, single.seconds, single.high) == pytest.approx((102, 110, 118)), "eight of ten"
    assert (prior.low, prior.seconds, prior.high) == pytest.approx((20, 30, 45)), "one record may be off"
    assert cells["single/wide", 0].seconds == 110, "by its method"
    small = next(c for c in grids.plan("small", k="seed=0").cells)
    assert small.timing is None


COST = {"step_s": 0.5, "fixed_s": 20, "within": 2, "hardware": "a card", "why": "a guess"}


def test_without_records_the_suite_declares_a_cost(grids):
    cost = {"*": {**COST, "steps": 200}, "prior": {**COST, "steps": 0}}
    grids.of("grids", grid={"scales": [4]}, needs={"single": {"gpu": 2}, "multi/*": {"gpu": 0.5}}, cost=cost)
    cells = {c.row: c for c in grids.plan("single", "multi/dnn", "prior").cells}
    assert {r: (c.timing.low, c.timing.seconds, c.timing.high) for r, c in cells.items()} == {
        "single": (60, 120, 240), "multi/dnn": (60, 120, 240), "prior": (10, 20, 40),
    }  # fmt: skip
    assert {c.seconds for c in cells.values()} == {None}, "the scheduler goes by what ran"
    e = estimate(list(cells.values()))
    assert (e.known, dict(e.declared)) == (0, {"a card: a guess": 3})
    assert (e.gpu_low * 3600, e.gpu_h * 3600, e.gpu_high * 3600) == pytest.approx((150, 300, 600))
    grids.run("prior")
    e = estimate(grids.plan("single", "prior").cells)
    assert (e.known, dict(e.declared)) == (1, {"a card: a guess": 1}), "a record counts for more"


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"*": COST}, "the recipe of flights-4x has no `steps`"),
        ({"*": {**COST, "step": 3}}, "unknown key; did you mean 'steps'?"),
        ({"*": {**COST, "within": 0.5}}, "greater than or equal to 1"),
        ({"singel": {**COST, "steps": 3}}, "no row of track grids matches 'singel'"),
    ],
)
def test_a_cost_that_cannot_be_read_is_told(grids, cost, said):
    grids.of("grids", grid={"scales": [4]}, cost=cost)
    with pytest.raises(BenchError) as e:
        grids.plan()
    assert said in str(e.value)


# ------------------------------------------------------------------------------------------------------ large


def test_ten_thousand_cells_are_enumerated_once_each(sandbox):
    sandbox.use("grids").of("grids", seeds=100, grid={"scales": list(range(1, 26))})
    plan = make_plan(
        Suite.read(sandbox.suite), Registry(plugins=sandbox.plugins), None, "laptop", tracks=["grids"]
    )
    # Per task and seed: single, single/wide, multi/dnn, multi/shared, small; prior once a task.
    assert len(plan.cells) == 25 * (100 * 5 + 1)
    assert len({c.key for c in plan.cells}) == len(plan.cells) - 100, "multi/dnn at 1x is single"
    assert plan.count() == {"new": len(plan.cells) - 100}
    assert all(json.dumps(c.cell.declared()) for c in plan.cells[:50])


def test_a_filter_term_may_name_several_values():
    wanted = Filter(expression="scale=1|4, seed=0")
    assert wanted.terms == [("scale", ["1", "4"]), ("seed", ["0"])]


def test_a_deterministic_row_runs_on_every_split_that_its_track_draws(sandbox):
    text = (sandbox.copy("faults")).read_text()
    sandbox.of("faults", seeds=3)
    assert [c.cell.seed for c in sandbox.plan("fixed").cells] == [0]
    (sandbox.folder / "faults.py").write_text(
        text.replace('name = "faults"\n', 'name = "faults"\n    split_per_seed = True\n')
    )
    assert [c.cell.seed for c in sandbox.plan("fixed").cells] == [0, 1, 2]


def test_stages_are_declared_once_a_task_however_many_rows_read_them(monkeypatch):
    """Declaring reads the metadata of packages: once a method, that was most of a plan's time."""
    registry, asked, rows = Registry(), Counter(), {}
    for name in registry.track_names():
        kind = type(registry.track(name))

        def counting(self, task, run, declared=kind.stages):
            asked[self.name, task.name] += 1
            return declared(self, task, run)

        monkeypatch.setattr(kind, "stages", counting)
    plan = make_plan(Suite.read(ROOT / "bench.yaml"), registry, None, "laptop")
    for c in plan.cells:
        rows.setdefault((c.plan.track.name, c.task.name), set()).add(c.row)
    assert set(asked) == set(rows)
    assert min(map(len, rows.values())) > 6
    # ood's own declaration of its frozen features asks once more.
    assert max(asked.values()) <= 2
