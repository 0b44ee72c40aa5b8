"""Commands on records: show, why, rerun, accept, publish."""

import json
import re
from dataclasses import replace


def test_show_prints_a_record_and_as_json(sandbox, bench):
    sandbox.use("faults").of("faults")
    bench(*sandbox.arguments("run", "--local", "-m", "raises", "-m", "infinite", "-m", "retreats"))
    keys = {row: r.key for row, r in sandbox.by_row().items()}
    store = ["--store", str(sandbox.store_folder)]
    said = bench("show", keys["raises"][:8], *store)
    assert said.code == 0
    for words in (
        "ValueError: this <b>method</b> is broken",
        "last words before the end",
        "minutes=10",
        keys["raises"],
    ):
        assert words in said.out
    assert "–" in bench("show", keys["infinite"], *store).out, "a curve with a hole in it is shown"
    assert "fallback: batch=2" in bench("show", keys["retreats"], *store).out
    whole = json.loads(bench("show", keys["raises"], "--json", *store).out)
    assert (whole["status"], whole["key"], whole["attempts"]) == ("failed", keys["raises"], 1)
    wrong = bench("show", "zzzz", *store)
    assert wrong.code == 2
    assert "no record of" in wrong.err


def test_compare_speaks_of_new_examples_where_a_track_keeps_scores_of_them(sandbox, bench):
    sandbox.use("names").of("names", seeds=2, ranks_by="all_names")
    sandbox.run("zero-shot", "tuned")
    said = bench(*sandbox.arguments("compare", "tuned", "zero-shot"))
    records = sandbox.records()
    store = sandbox.store()
    means = {
        row: [
            store.artifacts.units(r.units["all_names"]).values.mean() for r in records if r.cell["row"] == row
        ]
        for row in ("tuned", "zero-shot")
    }
    diff = sum(means["tuned"]) / len(means["tuned"]) - sum(means["zero-shot"]) / len(means["zero-shot"])
    line = said.out.splitlines()[-1]
    assert f"{diff:+.3f}" in line
    assert "new examples too" in line
    other = bench(*sandbox.arguments("compare", "tuned", "zero-shot", "--metric", "base"))
    assert "these test sets" in other.out


def test_why_names_the_cause_or_what_was_declared_otherwise(ran):
    grids, bench = ran
    records = {(r.cell["row"], r.cell["task"]): r.key for r in grids.records()}
    key = records["prior", "flights-1x"]
    said = bench(*grids.arguments("why", key[:10]))
    assert "planned today: grids · flights-" in said.out
    assert "nothing that decides its numbers has changed since" in said.out
    plugin = grids.folder / "grids.py"
    text = plugin.read_text()
    plugin.write_text(text.replace("return 0.5\n", "return 0.51\n"))
    assert "stale: prior changed since" in bench(*grids.arguments("why", key)).out
    plugin.write_text(text)
    grids.of("grids", seeds=2, grid={"scales": [1, 4]}, run={"epochs": 9})
    said = bench(*grids.arguments("why", key))
    assert "no profile plans this cell today" in said.out
    assert "run.epochs: None -> 9" in said.out
    grids.of("grids", seeds=2, grid={"scales": [7]})
    assert "nothing is planned for row prior on task flights-" in bench(*grids.arguments("why", key)).out


def test_rerun_shows_old_and_new_numbers(ran):
    grids, bench = ran
    record = next(r for r in grids.records() if r.cell["row"] == "prior" and r.cell["task"] == "flights-4x")
    said = bench(*grids.arguments("rerun", record.key[:10]))
    assert said.code == 0, said.err
    assert re.search(r"value +0\.5 +0\.5 +same", said.out)
    plugin = grids.folder / "grids.py"
    plugin.write_text(plugin.read_text().replace("return 0.5\n", "return 0.75\n"))
    said = bench(*grids.arguments("rerun", record.key))
    assert re.search(r"value +0\.5 +0\.75 +differs", said.out)
    now = {r.key: r for r in grids.records()}
    assert now[record.key].metrics["value"] == 0.75
    assert len(now) == 20
    grids.of("grids", run={"epochs": 9})
    wrong = bench(*grids.arguments("rerun", record.key))
    assert wrong.code == 2
    assert "no profile plans" in wrong.err


def test_rerun_builds_stages_that_read_stages(sandbox, bench):
    path = sandbox.copy("sampler")
    sandbox.of("sampler", ranks_by="distance", grid={"targets": ["bright"]}, hp={"banked": {"weight": 0.1}})
    text = path.read_text()
    path.write_text(text.replace("np.save(ctx.outdir", 'raise OSError("full")\n    np.save(ctx.outdir'))
    bench(*sandbox.arguments("run", "--local", "-m", "banked"))
    record = sandbox.by_row()["banked"]
    assert record.status == "skipped"
    path.write_text(text)
    said = bench(*sandbox.arguments("rerun", record.key))
    assert said.code == 0, said.err
    assert "running sampler · stage bank 2/2" in said.out
    assert sandbox.by_row()["banked"].status == "ok"


def test_accept_stamps_a_stale_record_and_the_board_says_so(ran):
    grids, bench = ran
    key = next(r.key for r in grids.records() if r.cell["row"] == "prior")
    assert "not stale: nothing to accept" in bench(*grids.arguments("accept", key, "--reason", "why not")).out
    plugin = grids.folder / "grids.py"
    plugin.write_text(plugin.read_text().replace("return 0.5\n", "return 0.5 + 0.0\n"))
    assert bench(*grids.arguments("accept", key, "--reason", " ")).code == 2
    said = bench(*grids.arguments("accept", key, "--reason", "adds zero"))
    assert "accepted: adds zero" in said.out
    states = {c.key: c.state for c in grids.plan().cells}
    assert states.pop(key) == "done"
    assert set(states.values()) == {"stale", "done"}
    assert "‡" in bench(*grids.arguments("board", "--format", "markdown")).out
    assert "accepted: adds zero" in bench("show", key, "--store", str(grids.store_folder)).out


def test_accept_in_bulk_and_what_it_asks_for(ran):
    grids, bench = ran
    for words, said in {
        ("--reason", "adds zero"): "say which cells",
        ("-m", "single"): "give either --reason",
        ("-m", "single", "--reason", "x", "--verify", "1"): "give either --reason",
        ("-m", "singel", "--reason", "x"): "did you mean 'single'?",
    }.items():
        wrong = bench(*grids.arguments("accept", *words))
        assert (wrong.code, said in wrong.err) == (2, True), (words, wrong)
    plugin = grids.folder / "grids.py"
    plugin.write_text(plugin.read_text().replace("return 1.0", "return 1.0 + 0"))
    said = bench(*grids.arguments("accept", "-m", "multi/*", "-k", "seed=1", "--reason", "adds zero"))
    assert "4 cells stamped, accepted: adds zero" in said.out
    done = {(c.cell.row, c.task.name, c.cell.seed) for c in grids.plan().cells if c.state == "done"}
    assert {cell for cell in done if cell[0] != "small"} == {
        ("single", "flights-1x", 1), ("multi/dnn", "flights-4x", 1), ("multi/shared", "flights-1x", 1),
        ("multi/shared", "flights-4x", 1),
    }, "what multi/dnn shows at 1x is the cell of the single row"  # fmt: skip


def test_accept_verified_on_a_sample_stamps_the_rest_unless_a_number_differs(ran):
    grids, bench = ran
    before = {r.key: (r.ended, dict(r.metrics)) for r in grids.records()}
    plugin = grids.folder / "grids.py"
    text = plugin.read_text()
    plugin.write_text(text.replace("return 1.0", "return 1.0 + 0"))
    said = bench(*grids.arguments("accept", "--verify", "1"))
    assert said.code == 0, said
    assert "18 stale cells; 10 of them are run again" in said.out, "each task is a kind of its own"
    assert "18 cells stamped, verified on 10" in said.out
    assert {c.state for c in grids.plan().cells} == {"done"}
    assert {r.key: (r.ended, dict(r.metrics)) for r in grids.records()} == before, "no number was replaced"
    board = bench(*grids.arguments("board", "--format", "markdown")).out
    assert "18 cells verified on 10 of 18 at" in board
    assert "‡" not in board.split("marks", 1)[0].split("|", 1)[1].split("\n\n")[0], "no mark on every cell"

    plugin.write_text(text.replace("return 0.6 +", "return 0.61 +"))
    said = bench(*grids.arguments("accept", "--verify", "1", "-m", "multi/*"))
    assert said.code == 1
    assert re.search(
        r"differs grids · flights-4x · multi/dnn · seed \d \(\w+\): value was 0\.64\d*, is 0\.65", said.out
    )
    assert "nothing is stamped" in said.out
    assert {c.state for c in grids.plan("multi/*").cells if not c.alias_of} == {"stale"}
    assert {r.key: (r.ended, dict(r.metrics)) for r in grids.records()} == before


def test_publish_writes_what_is_complete(ran, tmp_path):
    grids, bench = ran
    out = tmp_path / "results"
    said = bench(*grids.arguments("publish", "--out", str(out)))
    assert said.code == 0, said.err
    assert "grids: 20 records" in said.out
    lines = (out / "grids.jsonl").read_text().splitlines()
    assert len(lines) == 20
    at = [(r["cell"]["task"], r["cell"]["row"], r["cell"]["seed"]) for r in map(json.loads, lines)]
    assert at == sorted(at)
    grids.of("grids", seeds=3, grid={"scales": [1, 4]})
    said = bench(*grids.arguments("publish", "--out", str(tmp_path / "more")))
    assert "grids: not published, 9 new, 0 stale, 0 blocked of 29 cells" in said.out
    assert not (tmp_path / "more").exists()
    bench(*grids.arguments("publish", "--partial", "--out", str(tmp_path / "more")))
    assert len((tmp_path / "more" / "grids.jsonl").read_text().splitlines()) == 20


def test_merge_brings_what_another_store_has_and_tells_conflicts(ran, tmp_path):
    grids, bench = ran
    here, there = str(tmp_path / "here"), str(grids.store_folder)
    plugin = ["--plugin", grids.plugins[0]]
    said = bench("merge", here, there, *plugin)
    n = len(grids.records())
    assert (said.code, f"{n} records brought into {here}" in said.out) == (0, True), said
    assert (
        f"0 records brought into {here}; {n} were there already" in bench("merge", here, there, *plugin).out
    )
    text = (grids.folder / "grids.py").read_text()
    wrong = bench("merge", here, str(tmp_path / "nowhere"), *plugin)
    assert (wrong.code, "no such folder" in wrong.err) == (2, True)
    # The same cells run a second time, with the same numbers and then, unexplained, with others.
    grids.store_folder.rename(tmp_path / "first")
    assert not grids.run("prior").stopped
    assert "replicates with equal numbers, made with the same" in bench("merge", here, there, *plugin).out
    for record in grids.records():
        metrics = {**record.metrics, "value": 0.75}
        grids.store().write(replace(record, metrics=metrics, ended="2099-01-01T00:00:00+00:00"))
    said = bench("merge", here, there, *plugin)
    assert said.code == 1
    assert "2 conflicts: other numbers with the same hardware" in said.out
    assert "grids · flights-1x · prior · seed 0: value was 0.5, is 0.75" in said.out
    assert bench("merge", here, there, "--both", *plugin).code == 1
    assert text == (grids.folder / "grids.py").read_text()
