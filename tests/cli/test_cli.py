"""Every command on a small grid: what it prints, its exit code, and that mistakes are one message."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.code.closure import unpack_listing

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "scipy", "polars", "pandas", "xarray", "sklearn", "matplotlib")


@pytest.fixture
def grids(lab):
    lab.copy("grids")
    lab.of("grids", seeds=2, grid={"scales": [1, 4]})
    return lab


@pytest.fixture(scope="module")
def swept(laboratory, tmp_path_factory):
    """The small grid, run once; a test works on a copy of its store."""
    lab = laboratory(tmp_path_factory.mktemp("swept"))
    lab.copy("grids")
    lab.of("grids", seeds=2, grid={"scales": [1, 4]})
    assert not lab.run().stopped
    return lab


@pytest.fixture
def ran(grids, bench, swept):
    shutil.copytree(swept.store_folder, grids.store_folder)
    return grids, bench


# ------------------------------------------------------------------------------------------- light and quick


@pytest.mark.parametrize("words", [["--help"], ["plan"], ["plan", "--help"], ["status"]])
def test_help_and_plan_import_nothing_heavy(grids, words):
    line = words if "--help" in words else grids.arguments(*words)
    code = (
        "import sys, time; t = time.perf_counter(); from bench.cli import main\n"
        f"sys.argv = ['bench', *{line!r}]\n"
        "try: main()\nexcept SystemExit as e: assert not e.code, e.code\n"
        f"print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules])\n"
        "print('SECONDS', round(time.perf_counter() - t, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy, seconds = done.stdout.splitlines()[-2:]
    assert heavy == "HEAVY"
    print(f"bench {words[0]}: {seconds.split()[1]} s")


def test_the_real_plan_imports_nothing_heavy_either():
    code = (
        "import sys; from bench.cli import main; sys.argv = ['bench', 'plan', '--store', 'memory://x']\n"
        "try: main()\nexcept SystemExit as e: assert not e.code, e.code\n"
        f"print('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "HEAVY", done.stdout + done.stderr


def test_every_command_has_help(bench):
    said = bench("--help")
    assert said.code == 0
    from bench.cli import COMMANDS

    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", said.out), name
        own = bench(name, "--help")
        assert own.code == 0
        assert "Usage" in own.out


# ---------------------------------------------------------------------------------------------- plan and run


def test_plan_shows_states_aliases_skips_and_an_estimate(grids, bench):
    before = bench(*grids.arguments("plan"))
    assert before.code == 0
    assert "18 to run: no past record to estimate from, at most 3.0 h by their limits" in before.out
    assert re.search(r"multi/dnn +│? *= single +│? *2 new", before.out)
    bench(*grids.arguments("run", "--local", "-m", "single*", "-k", "seed=0"))
    after = bench(*grids.arguments("plan", "--cells"))
    assert "1 done 1 new" in after.out
    assert "skipped" in after.out
    assert re.search(
        r"profile laptop: 4 done, 16 new; 14 to run: about .* by past records of 4 of them", after.out
    )
    key = next(r.key for r in grids.records() if r.cell["row"] == "single")
    assert re.search(rf"{key} +done +grids · flights-\dx · single · seed 0", after.out)


def test_run_says_what_was_done_and_then_that_nothing_is_left(grids, bench):
    said = bench(*grids.arguments("run", "--local"))
    assert said.code == 0, said
    assert re.search(r"18 cells and stages ended in .*: 18 ok", said.out)
    assert len([r for r in grids.records() if r.status == "ok"]) == 18
    assert len([r for r in grids.records() if r.status == "skipped"]) == 2
    again = bench(*grids.arguments("run", "--local"))
    assert (again.code, again.out.splitlines()[-1]) == (0, "nothing to run")
    plugin = grids.folder / "grids.py"
    plugin.write_text(plugin.read_text().replace("return 1.0", "return 1.0 + 0"))  # the truth, for all
    again = bench(*grids.arguments("run", "--local"))
    assert "nothing to run (--stale runs 18 stale cells)" in again.out


def test_failures_are_told_with_reason_and_key(lab, bench):
    lab.use("faults").of("faults")
    said = bench(*lab.arguments("run", "--local", "-m", "raises", "-m", "nan", "-m", "crashes", "-m", "fine"))
    assert said.code == 0
    assert re.search(
        r"failed faults · size-1 · crashes · seed 0 .*crashed with SIGSEGV +\[[0-9a-f]{16}\]", said.out
    )
    assert re.search(r"diverged faults · size-1 · nan .*value is nan", said.out)
    assert re.search(r"4 cells and stages ended in .*: (\d \w+,? ?){3}", said.out)
    again = bench(*lab.arguments("run", "--local", "-m", "raises"))
    assert "nothing to run (--failed runs 1 failed cells)" in again.out
    said = bench(*lab.arguments("plan", "-m", "raises"))
    assert "failed: ValueError: this <b>method</b> is broken (1)" in said.out


def test_status_is_a_matrix_with_one_mark_a_seed(ran):
    grids, bench = ran
    said = bench(*grids.arguments("status"))
    assert said.code == 0
    assert re.search(r"single +■■ +■■", said.out)
    assert re.search(r"multi/dnn +== +■■", said.out)
    assert re.search(r"small +■■ +––", said.out)
    assert "ok 18" in said.out
    assert "over 20 records" in said.out


# ---------------------------------------------------------------------------------------------------- boards


def test_board_in_three_formats(ran):
    grids, bench = ran
    for kind, wanted in {
        "terminal": ["Multi · shared", "0.6"],
        "markdown": ["| ", "Multi · shared"],
        "csv": ["multi/shared", "flights-4x"],
    }.items():
        said = bench(*grids.arguments("board", "-t", "grids", "--format", kind))
        assert said.code == 0, said.err
        for words in wanted:
            assert words in said.out, (kind, said.out)
    only = bench(*grids.arguments("board", "-m", "single", "--format", "csv"))
    assert "multi" not in only.out
    wrong = bench(*grids.arguments("board", "-t", "gridz"))
    assert (wrong.code, "did you mean 'grids'?" in wrong.err) == (2, True)


def test_compare_says_who_is_better_and_by_exit_code(ran):
    grids, bench = ran
    better = bench(*grids.arguments("compare", "multi/shared", "single"))
    assert better.code == 0
    assert "+0.100" in better.out
    worse = bench(*grids.arguments("compare", "single", "multi/shared"))
    assert worse.code == (1 if ": worse" in worse.out else 0)
    assert "-0.100" in worse.out
    same = bench(*grids.arguments("compare", "single", "single/wide"))
    assert same.code == 0
    aliased = bench(*grids.arguments("compare", "multi/dnn", "single"))
    assert "left out: the same cells, by construction" in aliased.out
    for words, said in {
        ("singel", "multi/dnn"): "did you mean 'single'?",
        ("single", "prior", "--metric", "valeu"): "no such metric; did you mean 'value'?",
        ("single", "prior", "--track", "gird"): "no track 'gird'",
    }.items():
        wrong = bench(*grids.arguments("compare", *words))
        assert wrong.code == 2
        assert said in wrong.err


# ------------------------------------------------------------------------------------------------- one record


def test_show_prints_a_record_and_as_json(lab, bench):
    lab.use("faults").of("faults")
    bench(*lab.arguments("run", "--local", "-m", "raises", "-m", "infinite", "-m", "retreats"))
    keys = {row: r.key for row, r in lab.by_row().items()}
    store = ["--store", str(lab.store_folder)]
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


def test_compare_pairs_the_examples_that_a_track_keeps(lab, bench):
    lab.use("names").of("names", seeds=2, ranks_by="all_names")
    lab.run("zero-shot", "tuned")
    said = bench(*lab.arguments("compare", "tuned", "zero-shot"))
    records = lab.records()
    store = lab.store()
    means = {
        row: [
            store.artifacts.units(r.units["all_names"]).values.mean() for r in records if r.cell["row"] == row
        ]
        for row in ("tuned", "zero-shot")
    }
    diff = sum(means["tuned"]) / len(means["tuned"]) - sum(means["zero-shot"]) / len(means["zero-shot"])
    (line,) = [x for x in said.out.splitlines() if "paired by example" in x]
    assert f"{diff:+.3f}" in line
    assert "groups" in line
    assert (
        "paired by example"
        not in bench(*lab.arguments("compare", "tuned", "zero-shot", "--metric", "base")).out
    )


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


def test_rerun_builds_stages_that_read_stages(lab, bench):
    path = lab.copy("sampler")
    lab.of("sampler", ranks_by="distance", grid={"targets": ["bright"]}, hp={"banked": {"weight": 0.1}})
    text = path.read_text()
    path.write_text(text.replace("np.save(ctx.outdir", 'raise OSError("full")\n    np.save(ctx.outdir'))
    bench(*lab.arguments("run", "--local", "-m", "banked"))
    record = lab.by_row()["banked"]
    assert record.status == "skipped"
    path.write_text(text)
    said = bench(*lab.arguments("rerun", record.key))
    assert said.code == 0, said.err
    assert "running sampler · stage bank 2/2" in said.out
    assert lab.by_row()["banked"].status == "ok"


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


# --------------------------------------------------------------------------------------- publish, data, check


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


def test_data_says_what_is_missing_and_what_it_blocks(grids, bench):
    grids.of("grids", seeds=2, grid={"scales": [4, 99]})
    said = bench(*grids.arguments("data", store=False))
    assert said.code == 0, said.err
    assert re.search(r"flights-4x +here, one +11", said.out)
    assert re.search(r"flights-99x +missing big.csv is not here; .* +11 blocked", said.out)
    plan = bench(*grids.arguments("plan"))
    assert "blocked: big.csv is not here; download it from nowhere (11)" in plan.out


GOOD = """from bench.contract import method

@method("grids", name="Mine", id="mine")
def mine(data, hp, ctx):
    {}
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("return 0.7", 0, "1 rows checked, 0 with problems"),
        ("return 'words'", 1, "unsupported operand"),
        ("raise ValueError('[no] markup')", 1, "failed: ValueError: [no] markup"),
        ("import os; return int.from_bytes(os.urandom(4), 'big') / 2**32", 1, "not the same twice"),
    ],
)
def test_check_of_a_file(grids, bench, body, code, said):
    file = grids.folder / "mine.py"
    file.write_text(GOOD.format(body))
    found = bench(*grids.arguments("check", str(file), store=False))
    assert found.code == code, found
    assert said in found.out
    assert "grids · mine" in found.out
    assert "grids · single" not in found.out, "only the file's own rows"


def test_check_of_a_file_with_a_mistake(grids, bench):
    file = grids.folder / "mine.py"
    file.write_text("def f(:\n")
    found = bench(*grids.arguments("check", str(file), store=False))
    assert found.code == 2
    assert "mine.py:1: SyntaxError" in found.err


# --------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "-p", "laptp"], "no profile 'laptp'; did you mean 'laptop'?"),
        (["plan", "-t", "gird"], "no track 'gird'; did you mean 'grids'?"),
        (["plan", "-m", "singel"], "-m singel: no row matches; did you mean 'single'?"),
        (["run", "--local", "-k", "sclae=1"], "did you mean 'scale'?"),
        (["run", "--plugin", "nowhere.py"], "--plugin nowhere.py: no such file"),
        (["why", "0123"], "no record of"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(grids, bench, words, said):
    found = bench(*grids.arguments(*words))
    assert found.code == 2
    assert found.err.startswith("error ")
    assert said in found.err
    assert "Traceback" not in found.err


def test_a_mistake_in_the_suite_is_shown_with_its_brackets(grids, bench):
    grids.of("grids", grid={"scales": "[bold]"})
    found = bench(*grids.arguments("plan"))
    assert found.code == 2
    assert "'[bold]'" in found.err
    assert f"{grids.suite}:" in found.err


# ------------------------------------------------------------------------------------------------ a newcomer

NEWCOMER = '''"""Nearest mean, by a stranger."""
from bench.contract import method

@method("{track}", name="A stranger's baseline", hp={{"level": 0.55}})
def stranger(data, hp, ctx):
    {answer}
'''


def test_a_newcomers_file_appears_on_the_board_of_a_stub(ran, tmp_path):
    grids, bench = ran
    file = tmp_path / "elsewhere" / "stranger.py"
    file.parent.mkdir()
    file.write_text(NEWCOMER.format(track="grids", answer="return hp['level']"))
    grids.plugins.append(str(file))
    assert bench(*grids.arguments("check", str(file), store=False)).code == 0
    assert bench(*grids.arguments("run", "--local")).code == 0
    said = bench(*grids.arguments("board"))
    assert "A stranger's baseline" in said.out
    assert {r.status for r in grids.records() if r.cell["row"] == "stranger"} == {"ok"}


def definitions(lab, record) -> set[str]:
    """Names of the definitions that a record is held to."""
    listing = lab.store().artifacts.get(record.provenance["code"])
    return {name for name, _ in unpack_listing(listing)}


@pytest.mark.slow
def test_a_newcomers_file_appears_on_the_board_of_a_real_track(lab, bench, tmp_path):
    answer = (
        "import numpy as np\n"
        "    rate = np.full(len(data.test_x), data.click_rate)\n"
        "    return {'val': rate[:1].repeat(len(data.val_x)), 'test': rate, 'parameters': 1}"
    )
    file = tmp_path / "stranger.py"
    file.write_text(NEWCOMER.format(track="embedding_scale", answer=answer))
    assert len(file.read_text().splitlines()) <= 20
    common = ["-p", "smoke", "--plugin", str(file), "--store", str(lab.store_folder)]
    assert bench("check", str(file)).code == 0
    said = bench("run", "--local", "-t", "embedding_scale", "-m", "stranger", "-m", "prior", *common)
    assert said.code == 0, said
    said = bench("board", "-t", "embedding_scale", *common)
    assert "A stranger's baseline" in said.out
    rows = {r.cell["row"]: r for r in lab.records()}
    assert rows["stranger"].metrics["auc"] == 0.5
    assert {"stranger", "EmbeddingScale.load", "auc"} <= definitions(lab, rows["stranger"])


def test_an_installed_package_brings_a_row_whose_code_counts(grids, tmp_path):
    """By entry point, in fresh processes: planned, run, and stale when the package changes."""
    site = tmp_path / "site"
    (site / "afar").mkdir(parents=True)
    (site / "afar-1.dist-info").mkdir()
    (site / "afar-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: afar\nVersion: 1\n")
    (site / "afar-1.dist-info" / "entry_points.txt").write_text("[bench.methods]\nafar = afar.rows\n")
    (site / "afar" / "__init__.py").write_text("")
    (site / "afar" / "level.py").write_text("LEVEL = 0.3\n")
    text = NEWCOMER.format(track="grids", answer="from afar.level import LEVEL; return LEVEL")
    (site / "afar" / "rows.py").write_text(text)

    def call(*words):
        line = [sys.executable, "-m", "bench.cli", *grids.arguments(*words, "-m", "stranger", "-k", "seed=0")]
        env = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
        return subprocess.run(line, env=env, text=True, capture_output=True, check=True).stdout

    call("run", "--local")
    records = [r for r in grids.records() if r.cell["row"] == "stranger"]
    assert {r.metrics["value"] for r in records} == {0.3}
    assert {"stranger", "LEVEL"} <= definitions(grids, records[0])
    assert "2 done" in call("plan")
    (site / "afar" / "level.py").write_text("LEVEL = 0.31\n")
    assert "stale: LEVEL changed since" in call("plan")
