"""Published records under the store: cells that others ran and published are done, shown and compared."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest

from bench.contract import Record
from bench.store.committed.writing import publish
from bench.store.provenance import environment

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = "Other CPU × 8"
RUN_S = 20.0
STRANGER = '''"""Half of what the images say, by a stranger."""
import numpy as np
from bench.contract import method

@method("names", name="A stranger's", deterministic={deterministic})
def stranger(data, hp, ctx):
    centre = np.stack([data["images"][data["labels"] == k].mean(0) for k in range(3)])
    spread = np.random.default_rng(ctx.seed).normal(size=(12, 6))
    return lambda images, names: images @ spread[:, : len(names)]
'''
#: Ten cells: two tasks, one deterministic row and two with two seeds, of which one fails by construction.
DONE = "6 done (6 published), 4 failed (4 published)"
SUITE = {"seeds": 2, "ranks_by": "all_names"}


def on_names(sandbox):
    sandbox.use("names")
    sandbox.of("names", **SUITE)
    return sandbox


def as_elsewhere(file: Path) -> None:
    """Make published records those of another machine, with a run time that is known."""
    lines = []
    for record in map(orjson.loads, file.read_bytes().splitlines()):
        record["where"] |= {"label": ELSEWHERE, "host": ELSEWHERE}
        record["cost"] = {k: 0.0 if k.endswith("_s") else v for k, v in record["cost"].items()} | {
            "run_s": RUN_S
        }
        lines.append(orjson.dumps(record) + b"\n")
    file.write_bytes(b"".join(lines))


@pytest.fixture(scope="module")
def made(make_sandbox, tmp_path_factory):
    """A folder of results with ten published records of the stub, from another machine."""
    sandbox = on_names(make_sandbox(tmp_path_factory.mktemp("made")))
    sandbox.run()
    publish(sandbox.store(), sandbox.store().summaries(), sandbox.folder / "results" / "laptop")
    as_elsewhere(sandbox.folder / "results" / "laptop" / "names.jsonl")
    return sandbox.folder / "results"


@pytest.fixture
def clone(made, tmp_path, monkeypatch):
    """A clone with those results, in which bench runs; returns its folder of results."""
    shutil.copytree(made, tmp_path / "clone" / "results")
    monkeypatch.setattr("bench.CLONE", tmp_path / "clone")
    return tmp_path / "clone" / "results"


@pytest.fixture
def sandbox(clone, make_sandbox, tmp_path):
    """A sandbox of somebody who has that clone and has run nothing."""
    return on_names(make_sandbox(tmp_path))


def stranger(sandbox, deterministic: bool = False) -> Path:
    file = sandbox.folder / "mine" / "stranger.py"
    file.parent.mkdir()
    file.write_text(STRANGER.format(deterministic=deterministic))
    sandbox.plugins.append(str(file))
    return file


def published(clone: Path) -> list[dict]:
    return [json.loads(x) for x in (clone / "laptop" / "names.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------------------------------- done is done


def test_what_is_published_is_done_and_fresh_leaves_it_out(sandbox, bench):
    assert f"profile laptop: {DONE}" in bench(*sandbox.arguments("plan")).out
    assert "nothing to run" in bench(*sandbox.arguments("run", "--local")).out
    assert not sandbox.store_folder.exists(), "nothing was written"
    said = bench(*sandbox.arguments("plan", "--fresh")).out
    assert "profile laptop: 10 new; 10 to run: no past record" in said


def test_every_command_that_shows_sees_the_published_records(sandbox, clone, bench):
    first = next(r for r in published(clone) if r["status"] == "ok")
    key = first["key"]
    store = ["--store", str(sandbox.store_folder)]
    lines = {
        "status": (sandbox.arguments("status"), "ok 6 "),
        "board": (sandbox.arguments("board"), "all 10 are the published ones"),
        "report": (sandbox.arguments("report"), "LEADERBOARD.md"),
        "compare": (sandbox.arguments("compare", "tuned", "zero-shot"), "new examples too"),
        "show": (["show", key[:9], *store], ELSEWHERE),
        "why": (sandbox.arguments("why", key[:9]), "nothing that decides its numbers has changed since"),
        "export": (sandbox.arguments("export"), f"{ELSEWHERE},published"),
    }
    for name, (line, wanted) in lines.items():
        said = bench(*line)
        assert said.code == 0, (name, said)
        assert wanted in said.out, (name, said.out)
    assert (clone / "LEADERBOARD.md").exists() is False, "it holds the boards of our own suite, and no other"
    one = bench(
        *sandbox.arguments("board", "-m", first["cell"]["row"], "-k", f"seed=0,task={first['cell']['task']}")
    )
    assert f"{first['metrics']['all_names']:.3f}" in one.out
    assert "all 10 are the published ones" in (clone / "index.html").read_text()
    assert "No cell has a result yet" in bench(*sandbox.arguments("board", "--fresh")).out
    for words in (["show", key, *store, "--fresh"], sandbox.arguments("why", key, "--fresh")):
        said = bench(*words)
        assert (said.code, "no record of" in said.err) == (2, True)
    fresh = bench(*sandbox.arguments("compare", "tuned", "zero-shot", "--fresh"))
    assert "no task to compare them on" in fresh.out
    assert set(csv_of(bench(*sandbox.arguments("export", "--fresh")))["status"]) == {"new"}
    assert not sandbox.store_folder.exists(), "nothing was written"


def test_published_records_alone_or_not_at_all_but_not_both(sandbox, bench):
    stranger(sandbox)
    bench(*sandbox.arguments("run", "--local", "-m", "stranger"))
    alone = bench(*sandbox.arguments("board", "--published"))
    assert "all 10 are the published ones" in alone.out
    assert "no record" in bench(*sandbox.arguments("compare", "stranger", "tuned", "--published")).out
    for command in (["board"], ["report"], ["compare", "tuned", "zero-shot"]):
        said = bench(*sandbox.arguments(*command, "--published", "--fresh"))
        assert (said.code, "give one of the two" in said.err) == (2, True)


def test_the_layer_is_that_of_the_profile_asked_for(sandbox, clone, bench):
    suite = json.loads(sandbox.suite.read_text())
    suite["profiles"]["paper"] = suite["profiles"]["laptop"]
    suite["tracks"]["names"]["paper"] = suite["tracks"]["names"]["laptop"]
    sandbox.write(suite)
    assert "profile paper: 10 new" in bench(*sandbox.arguments("plan", "-p", "paper")).out
    (clone / "laptop").rename(clone / "paper")
    assert f"profile paper: {DONE}" in bench(*sandbox.arguments("plan", "-p", "paper")).out
    assert "profile laptop: 10 new" in bench(*sandbox.arguments("plan")).out
    assert bench(*sandbox.arguments("board")).code == 0, "nothing published is no mistake"


def test_a_published_line_that_cannot_be_read_is_told_and_is_new(sandbox, clone, bench):
    file = clone / "laptop" / "names.jsonl"
    first, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first[:100], *rest]) + "\n")
    said = bench(*sandbox.arguments("plan"))
    assert "profile laptop: 6 done (6 published), 1 new, 3 failed (3 published)" in said.out
    assert "names.jsonl:1 is left out" in said.err


# ----------------------------------------------------------------------------------- own ones over published


def test_a_method_of_ones_own_is_run_alone_and_compared(sandbox, bench):
    stranger(sandbox)
    said = bench(*sandbox.arguments("run", "--local", "-m", "stranger"))
    assert re.search(r"4 cells and stages ended in .*: 4 ok", said.out)
    assert {r.cell["row"] for r in sandbox.records()} == {"stranger"}
    said = bench(*sandbox.arguments("compare", "stranger", "tuned"))
    assert re.search(r"stranger 0\.\d+ \(n=2\) +tuned 0\.\d+ \(n=2\)", said.out)
    assert "new examples too" in said.out, "the store's units with the published ones"
    board = " ".join(bench(*sandbox.arguments("board")).out.split())
    assert "10 of 14 are the published ones; 4 are from store." in board
    assert "A stranger's" in board
    status = bench(*sandbox.arguments("status")).out
    assert "worker time over 4 records; 3.3 min over 10 published ones, elsewhere" in status.replace(
        "\n", " "
    )


def test_the_header_counts_records_and_not_what_was_never_run(sandbox, bench):
    sandbox.plugins.clear()
    sandbox.use("grids").of("grids", grid={"scales": [1, 4]})
    assert "records" not in bench(*sandbox.arguments("board")).out, "a skip that is declared is no record yet"
    bench(*sandbox.arguments("run", "--local", "-m", "prior"))
    assert "all 2 are from store." in " ".join(bench(*sandbox.arguments("board")).out.split())


def test_a_row_that_runs_once_is_compared_with_every_seed_of_a_published_one(sandbox, bench):
    stranger(sandbox, deterministic=True)
    bench(*sandbox.arguments("run", "--local", "-m", "stranger"))
    assert len(sandbox.records()) == 2
    said = bench(*sandbox.arguments("compare", "stranger", "tuned", "-k", "task=shift-0"))
    assert re.search(r"stranger 0\.\d+ \(n=1\) +tuned 0\.\d+ \(n=2\)", said.out)
    (last,) = [x for x in said.out.splitlines() if "all_names:" in x]
    assert "not judged" not in last


def test_costs_of_two_machines_stay_apart(sandbox, bench):
    stranger(sandbox)
    bench(*sandbox.arguments("run", "--local", "-m", "stranger"))
    text = bench(*sandbox.arguments("board", "--format", "markdown")).out
    here = sandbox.records()[0].where["label"]
    assert re.search(
        rf"hardware\*\*: {re.escape(here)}, {ELSEWHERE}\. Costs are compared only within", text
    ) or (re.search(rf"hardware\*\*: {ELSEWHERE}, {re.escape(here)}\. Costs are compared only within", text))
    assert "compare within one hardware label only" in text
    costs = {
        line.split("|")[1].strip(): line for line in text.split("### Cost")[1].splitlines() if "|" in line
    }
    assert ELSEWHERE in costs["Tuned"]
    assert here not in costs["Tuned"]
    assert ELSEWHERE not in next(v for k, v in costs.items() if k.startswith("A stranger"))


def test_what_is_run_again_here_counts_and_the_published_file_stays(sandbox, clone, bench):
    before = (clone / "laptop" / "names.jsonl").read_bytes()
    copied = sandbox.copy("names")
    sandbox.plugins.pop(0)
    copied.write_text(copied.read_text().replace('"harmonic": 2 *', '"harmonic": 2.0 *'))
    said = bench(*sandbox.arguments("plan"))
    assert "4 new (4 published), 6 stale (6 published)" in said.out, (
        "what failed with other code is to be run"
    )
    said = bench(*sandbox.arguments("run", "--local", "--stale", "-m", "tuned"))
    assert re.search(r"4 cells and stages ended in .*: 4 ok", said.out)
    said = bench(*sandbox.arguments("plan"))
    assert "4 done, 4 new (4 published), 2 stale (2 published)" in said.out
    key = sandbox.records()[0].key
    assert ELSEWHERE not in bench("show", key, "--store", str(sandbox.store_folder)).out
    assert (clone / "laptop" / "names.jsonl").read_bytes() == before


def test_a_published_cell_is_run_again_beside_its_numbers(sandbox, clone, bench):
    first = next(r for r in published(clone) if r["status"] == "ok")
    said = bench(*sandbox.arguments("rerun", first["key"]))
    assert said.code == 0, said
    assert re.search(r"all_names .* same", said.out)
    assert "differs" not in said.out, "a published number has nine digits"
    assert [r.key for r in sandbox.records()] == [first["key"]]


# ------------------------------------------------------------------------------------------------- estimates


def test_hours_rest_on_published_records_and_say_whose_machine_it_was(sandbox, clone, bench):
    suite = json.loads(sandbox.suite.read_text())
    suite["profiles"]["laptop"]["seeds"] = 3
    sandbox.write(suite)
    said = " ".join(bench(*sandbox.arguments("plan", "-m", "tuned")).out.split())
    hours = "2 to run: about 40 s on one worker (between 13 s and 2.0 min), by past records of 2 of them"
    assert hours in said, "two records of other hardware may be 1.5 times 2 times off"
    assert re.search(rf"\(2 of these on {ELSEWHERE}; this machine, .*, may differ\)", said)


def test_hours_are_scaled_by_cells_that_ran_on_both_machines(sandbox, clone, bench):
    for seconds, raw in zip(
        (5.0, 15.0), (r for r in published(clone) if r["cell"]["row"] == "zero-shot"), strict=True
    ):
        raw["where"]["label"] = "This CPU × 2"
        raw["cost"]["run_s"] = seconds
        sandbox.store().write(Record(**raw))
    suite = json.loads(sandbox.suite.read_text())
    suite["profiles"]["laptop"]["seeds"] = 3
    sandbox.write(suite)
    plan = " ".join(bench(*sandbox.arguments("plan", "-m", "tuned")).out.split())
    hours = "2 to run: about 20 s on one worker (between 13 s and 30 s), by past records of 2 of them"
    assert hours in plan
    assert f"(2 of these on {ELSEWHERE}, whose times are multiplied with 0.5, as in 2 cells that" in plan
    here = environment()["label"]
    file = clone / "laptop" / "names.jsonl"
    file.write_text(file.read_text().replace(ELSEWHERE, here))
    shutil.rmtree(sandbox.store_folder)
    plan = " ".join(bench(*sandbox.arguments("plan", "-m", "tuned")).out.split())
    hours = "2 to run: about 40 s on one worker (between 27 s and 60 s), by past records of 2 of them"
    assert plan.endswith(hours), "the same hardware"


# --------------------------------------------------------------------------------------------- publish, tour


def test_publishing_a_part_keeps_what_was_published(sandbox, clone, bench):
    file = clone / "laptop" / "names.jsonl"
    before, sidecars = (
        file.read_text().splitlines(),
        sorted(p.name for p in (clone / "laptop" / "names").iterdir()),
    )
    assert sidecars
    bench(*sandbox.arguments("run", "--local", "--fresh", "-m", "zero-shot"))
    said = bench(*sandbox.arguments("publish"))
    assert "names: 10 records" in said.out, said
    assert "left out" not in said.out
    after = file.read_text().splitlines()
    rows = [json.loads(x)["cell"]["row"] for x in before]
    kept = [a == b for a, b in zip(before, after, strict=True)]
    assert kept == [row != "zero-shot" for row in rows], (
        "own ones in their place, the others letter by letter"
    )
    assert sorted(p.name for p in (clone / "laptop" / "names").iterdir()) == sidecars, "artifacts of both"
    suite = json.loads(sandbox.suite.read_text())
    suite["profiles"]["laptop"]["seeds"] = 1
    sandbox.write(suite)
    assert "names: 6 records" in bench(*sandbox.arguments("publish")).out, "what is not planned any more goes"
    said = bench(*sandbox.arguments("publish", "--fresh", "--out", str(sandbox.folder / "own")))
    assert "not published, 4 new" in said.out


def test_the_tour_reproduces_and_is_never_served(sandbox, clone, bench):
    suite = json.loads(sandbox.suite.read_text())
    suite["profiles"]["tour"] = {"seeds": 1}
    suite["tracks"]["names"]["tour"] = {}
    sandbox.write(suite)
    shutil.copytree(clone / "laptop", clone / "tour")
    said = bench(*sandbox.arguments("tour", "--local", store=False))
    assert re.search(r"6 cells and stages ended in .*: (2 failed, )?4 ok", said.out), said
    assert "all 6 are from results/tour" in " ".join(said.out.split())
    assert "names: reproduced 4 of 4 published laptop cells" in said.out
    assert "all 10 are the published ones" in (clone / "index.html").read_text()


# ----------------------------------------------------------------------------------------------- flat tables


def csv_of(said) -> dict[str, list[str]]:
    rows = list(csv.DictReader(io.StringIO(said.out)))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_export_has_one_row_a_cell_whatever_became_of_it(sandbox, bench):
    stranger(sandbox)
    bench(*sandbox.arguments("run", "--local", "-m", "stranger", "-k", "seed=0"))
    table = csv_of(bench(*sandbox.arguments("export")))
    assert list(table)[:6] == ["key", "track", "task", "task.shift", "row", "method"]
    assert len(set(table["key"])) == len(table["key"]) == 14
    assert Counter(zip(table["status"], table["layer"], strict=True)) == {
        ("ok", "published"): 6, ("failed", "published"): 4, ("ok", "own"): 2, ("new", ""): 2,
    }  # fmt: skip
    assert set(table["role"]) == {"plugin"}
    assert set(table["stale"]) == {"False"}
    assert {"hp.shots", "metric.all_names", "cost.run_s", "started", "ended", "attempts", "commit"} <= set(
        table
    )
    assert len(csv_of(bench(*sandbox.arguments("export", "-m", "tuned", "-k", "seed=1")))["key"]) == 2


def test_export_to_parquet_says_what_a_csv_says(sandbox, bench, monkeypatch):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    out = sandbox.folder / "deep" / "cells.parquet"
    said = bench(*sandbox.arguments("export", "--format", "parquet", "--out", str(out)))
    assert (said.code, "10 cells" in said.err) == (0, True)
    whole = pd.read_parquet(out)
    text = pd.read_csv(io.StringIO(bench(*sandbox.arguments("export")).out))
    assert list(whole) == list(text)
    assert whole["metric.all_names"].tolist() == pytest.approx(text["metric.all_names"].tolist(), nan_ok=True)
    assert "name the file" in bench(*sandbox.arguments("export", "--format", "parquet")).err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = bench(*sandbox.arguments("export", "--format", "parquet", "--out", str(out)))
    assert (said.code, "pip install 'gridbench[paper]'" in said.err) == (2, True)


def test_columns_hold_censored_values_settings_and_what_has_no_type_of_its_own(tmp_path):
    from bench.board.frame import load
    from bench.contract import Cell, Record
    from bench.store.records import Store

    store = Store.open(tmp_path / "store")
    given = [(0.5, 1, [8, 8]), ({"bound": 300}, "auto", None), (None, 2.5, [])]
    for seed, (value, lr, widths) in enumerate(given):
        cell = Cell(
            track="t", track_version=1, task="a", task_version=1, row="m/v", row_version=1, seed=seed,
            hp={"lr": lr, "net": {"widths": widths}}, run={"epochs": 3},
        )  # fmt: skip
        cost = {"run_s": 1.5, "shared_s": {"bank": 2.0}}
        store.write(
            Record(
                key=cell.key,
                kind="cell",
                cell=cell.declared(),
                status="ok",
                metrics={"steps": value},
                cost=cost,
            )
        )
    table = load(tmp_path / "store", published=False)
    assert table["metric.steps"].tolist()[:2] == [0.5, 300]
    assert table["metric.steps.censored"].fillna(False).tolist() == [False, True, False]
    assert table["hp.lr"].tolist() == ["1", "auto", "2.5"]
    assert table["hp.net.widths"].fillna("").tolist() == ["[8, 8]", "", "[]"]
    assert table["run.epochs"].tolist() == [3, 3, 3]
    assert table["cost.shared_s.bank"].tolist() == [2.0] * 3
    assert set(table["layer"]) == {"own"}


def test_load_reads_the_published_records_too(sandbox, clone):
    import bench

    table = bench.load(sandbox.store_folder)
    assert (len(table), set(table["layer"])) == (10, {"published"})
    assert len(bench.load(sandbox.store_folder, published=False)) == 0
    assert len(bench.load(sandbox.store_folder, profile="paper")) == 0


# ------------------------------------------------------------------------------------------ the real records


def test_a_fresh_clone_has_nothing_to_do():
    """Every cell of the tracks whose grids are published that can be run has a published record."""
    tracks = sorted(f.stem for f in (ROOT / "results" / "laptop").glob("*.jsonl"))
    assert len(tracks) >= 4
    chosen = [word for name in tracks for word in ("-t", name)]
    line = [sys.executable, "-m", "bench.cli", "plan", "--cells", "--store", "memory://fresh", *chosen]
    said = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (last,) = re.findall(r"profile laptop: .*", said)
    assert "published" in last
    assert " new" not in last
    assert " to run" not in last


def test_publishing_the_real_records_again_changes_no_byte(tmp_path):
    from bench.store.committed.layers import Layered, committed_records
    from bench.store.records import Store

    folder = ROOT / "results"
    under = committed_records(folder, "laptop", ["multi_domain"])
    layered = Layered(Store.open(tmp_path / "store"), under)
    report = publish(layered, layered.summaries(), tmp_path / "again")
    assert report.left_out == []
    for file in [folder / "laptop" / "multi_domain.jsonl", *(folder / "laptop" / "multi_domain").iterdir()]:
        assert (tmp_path / "again" / file.relative_to(folder / "laptop")).read_bytes() == file.read_bytes()
