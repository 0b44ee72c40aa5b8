"""`bench check`: a good row passes; a wrong shape, a random answer and an exception are named."""

from pathlib import Path

import pytest

from bench.check import Checked, check
from bench.registry import Registry
from bench.suite import Suite

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "tests" / "stubs"
ROWS = """
import random, time
from bench.contract import method

@method("faults", name="Good", id="mine-good")
def good(data, hp, ctx):
    return 1.0 + random.random()

@method("faults", name="Shape", id="mine-shape")
def shape(data, hp, ctx):
    return [1.0]

@method("faults", name="Raises", id="mine-raises")
def bad(data, hp, ctx):
    raise KeyError("nothing of that name")

@method("faults", name="Random", id="mine-random")
def by_chance(data, hp, ctx):
    return random.SystemRandom().random()

@method("faults", name="Not finite", id="mine-nan")
def nan(data, hp, ctx):
    return float("inf")

@method("faults", name="Skips", id="mine-skips", skip=lambda task, run, hp: "has no GPU code")
def skips(data, hp, ctx):
    return 1.0

@method("faults", name="Slow", id="mine-slow", deterministic=True)
def slow(data, hp, ctx):
    time.sleep(0.6)
    return 1.0
"""
SAID = {
    "mine-good": "",
    "mine-shape": "failed: AnswerError: expected a number, found list",
    "mine-raises": "failed: {file}:15: KeyError: 'nothing of that name'",
    "mine-random": "not the same twice: value was 0.",
    "mine-nan": "diverged: value is inf",
}


@pytest.fixture
def mine(sandbox):
    sandbox.use("faults", "sampler")
    path = sandbox.folder / "mine.py"
    path.write_text(ROWS)
    sandbox.of("faults")
    return sandbox, path


def run(sandbox, path, **how) -> dict[str, Checked]:
    registry = Registry(plugins=[*sandbox.plugins, str(path)])
    return {c.row: c for c in check(Suite.read(sandbox.suite), registry, tracks=("faults",), **how)}


def test_each_row_has_its_verdict(mine, monkeypatch):
    monkeypatch.setattr("bench.check.SMOKE_S", 0.5)
    found = run(*mine, rows=("mine-*",), twice=True)
    for row, said in SAID.items():
        problems = found[row].problems
        assert len(problems) == bool(said), (row, problems)
        assert not said or problems[0].startswith(said.replace("{file}", str(mine[1]))), (row, problems)
    assert (found["mine-skips"].problems, found["mine-skips"].notes) == (
        (), ("skips the smoke task: has no GPU code",),
    )  # fmt: skip
    assert found["mine-slow"].problems == ()
    assert "a smoke cell should take at most 0.5 s" in found["mine-slow"].notes[0]


def test_once_does_not_compare(mine):
    found = run(*mine, rows=("mine-random",), twice=False)
    assert found["mine-random"].problems == ()


def test_rows_with_stages_are_checked_on_one_task_and_share_what_is_built(sandbox):
    path, log = sandbox.copy("sampler"), sandbox.folder / "built"
    builds = f"    with open({str(log)!r}, 'a') as f:\n        f.write(f'{{ctx.shard}} ')\n    mean = float("
    path.write_text(path.read_text().replace("    mean = float(", builds, 1))
    sandbox.of("sampler", ranks_by="distance")
    found = list(check(Suite.read(sandbox.suite), sandbox.registry(), tracks=("sampler",)))
    rows = ("full", "banked", "banked/no-bank", "untrained")
    assert [(c.row, c.problems) for c in found] == [(r, ()) for r in rows], "in their order"
    assert sorted(log.read_text().split()) == ["0", "1"]


def test_a_stage_that_fails_is_named(sandbox):
    path = sandbox.copy("sampler")
    text = path.read_text()
    path.write_text(
        text.replace('"""One shard of a bank: samples around', 'raise OSError("no bank")\n    """x')
    )
    sandbox.of("sampler", ranks_by="distance")
    found = {
        c.row: c.problems for c in check(Suite.read(sandbox.suite), sandbox.registry(), tracks=("sampler",))
    }
    assert found["full"] == ()
    assert found["banked"] == (f"sampler · stage bank 1/2: failed: {path}:34: OSError: no bank",)


BROKEN = """
from bench.contract import method

def inner(values):
    return sorted(values, key=lambda v: v.size)

@method("sampler", name="Mine", id="mine", variants={"other": {}})
def mine(data, hp, ctx):
    BODY
"""


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("return inner([1.0])", 5, "AttributeError: 'float' object has no attribute 'size'"),
        ("return hp['lr']", 9, "KeyError: 'lr'"),
        ("return ctx.stage('bank')", 9, "BenchError: stage 'bank' is not declared for this cell; there is "
         "encoder; a method declares the stages that it reads by stages=… of @method"),
        ("return __import__('json').loads('{')", 9, "JSONDecodeError: Expecting property name"),
        ("return 1.0", None, "AnswerError: expected sample(n, generator), found float"),
    ],
)  # fmt: skip
def test_an_exception_names_the_innermost_line_of_the_plugin(sandbox, bench, body, line, said):
    sandbox.use("sampler")
    sandbox.of("sampler", ranks_by="distance")
    file = sandbox.folder / "mine.py"
    file.write_text(BROKEN.replace("BODY", body))
    found = bench(*sandbox.arguments("check", str(file), "-m", "mine", store=False))
    at = f"{file}:{line}: " if line else ""
    assert f"failed: {at}{said}" in found.out
    assert found.code == 1


def test_only_the_rows_of_the_file_that_are_asked_for_are_checked(sandbox, bench):
    sandbox.use("sampler")
    sandbox.of("sampler", ranks_by="distance")
    file = sandbox.folder / "mine.py"
    file.write_text(BROKEN.replace("BODY", "return None"))

    def checked(*words):
        said = bench(*sandbox.arguments("check", str(file), *words, store=False))
        return [x.split(" · ")[1].split()[0] for x in said.out.splitlines() if " · " in x], said

    assert checked()[0] == ["mine", "mine/other"]
    assert checked("-m", "mine")[0] == ["mine"]
    assert checked("-m", "mine/*", "-t", "sampler")[0] == ["mine/other"]
    rows, said = checked("-m", "full")
    assert (rows, said.code) == ([], 2)
    assert "-m full: no row matches; there is mine, mine/other" in said.err, "a row, but not of this file"


def test_what_is_neither_a_file_nor_a_track(sandbox, bench):
    sandbox.use("sampler").of("sampler", ranks_by="distance")
    for subject, said in {
        "samplr": "there is no such file, and no track of that name; did you mean 'sampler'?",
        "mine.py": "bench check mine.py: there is no such file",
    }.items():
        wrong = bench(*sandbox.arguments("check", subject, store=False))
        assert (wrong.code, said in wrong.err) == (2, True), wrong


def test_a_baseline_that_lies_in_its_folder_is_checked_by_its_file(bench):
    found = bench("check", ROOT / "baselines" / "embedding_scale" / "prior.py")
    assert (found.code, found.err) == (0, "")
    assert "embedding_scale · prior" in found.out
    assert "1 row checked, 0 with problems" in found.out


def test_a_metric_that_is_declared_and_not_scored_is_a_problem(sandbox):
    path = sandbox.copy("faults")
    more = 'Metric(name="halves", better="higher"), Metric(name="size",'
    path.write_text(path.read_text().replace('Metric(name="size",', more))
    sandbox.of("faults")
    (found,) = check(
        Suite.read(sandbox.suite), sandbox.registry(), tracks=("faults",), rows=("fine",), twice=False
    )
    said = "the track declares the metric halves, but its score has none (None: it does not apply)"
    assert found.problems == (said,)


def test_an_exception_in_the_track_names_the_line_of_the_track(sandbox, bench):
    path = sandbox.copy("faults")
    text = path.read_text().replace('return {"size": task', 'return 1 / 0 and {"size": task')
    path.write_text(text)
    sandbox.of("faults")
    found = bench(*sandbox.arguments("check", "-t", "faults", "-m", "fine", store=False))
    line = 1 + next(i for i, x in enumerate(text.splitlines()) if "1 / 0" in x)
    assert f"failed: {path}:{line}: ZeroDivisionError: division by zero" in found.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from bench.board import table\n@table('t')\ndef t(board): return None\n",
         "it declares no method; its pictures and tables are shown by bench report --plugin FILE"),
        ((STUBS / "faults.py").read_text().partition("@method")[0].replace('"faults"', '"bare"'),
         "it declares no method of the track bare; what one is given: bench check bare --plugin FILE"),
    ],
)  # fmt: skip
def test_a_file_without_a_method_says_where_what_it_declares_is_seen(sandbox, bench, text, said):
    file = sandbox.folder / "mine.py"
    file.write_text(text)
    sandbox.use("faults").of("faults")
    found = bench(*sandbox.arguments("check", str(file), store=False))
    assert (found.code, f"mine.py: {said}" in found.err) == (2, True), found
