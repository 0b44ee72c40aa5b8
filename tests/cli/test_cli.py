"""Plans, sweeps, boards and checks by command: what they print, and that a mistake is one message."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "scipy", "polars", "pandas", "xarray", "sklearn", "matplotlib")


# -------------------------------------------------------------------------------------------- light and quick


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


# ----------------------------------------------------------------------------------------------- plan and run


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


def test_failures_are_told_with_reason_and_key(sandbox, bench):
    sandbox.use("faults").of("faults")
    said = bench(
        *sandbox.arguments("run", "--local", "-m", "raises", "-m", "nan", "-m", "crashes", "-m", "fine")
    )
    assert said.code == 0
    assert re.search(
        r"failed faults · size-1 · crashes · seed 0 .*crashed with SIGSEGV +\[[0-9a-f]{16}\]", said.out
    )
    assert re.search(r"diverged faults · size-1 · nan .*value is nan", said.out)
    assert re.search(r"4 cells and stages ended in .*: (\d \w+,? ?){3}", said.out)
    again = bench(*sandbox.arguments("run", "--local", "-m", "raises"))
    assert "nothing to run (--failed runs 1 failed cells)" in again.out
    said = bench(*sandbox.arguments("plan", "-m", "raises"))
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


# ----------------------------------------------------------------------------------------------------- boards


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


# ----------------------------------------------------------------------------------------------- data, check


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
        ("return 0.7", 0, "1 row checked, 0 with problems"),
        ("return 'words'", 1, "unsupported operand"),
        ("raise ValueError('[no] markup')", 1, "mine.py:5: ValueError: [no] markup"),
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
