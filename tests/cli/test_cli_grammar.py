"""One grammar for all commands: a flag means the same everywhere, and is there wherever it makes sense."""

import inspect
import re
from collections import defaultdict

import pytest
import typer

from bench.cli import COMMANDS, app
from bench.cli.options import DECLARED

#: Which shared options a command has. -p: what it works on belongs to a profile. -m and -k: it may concern
#: some rows or cells alone. --published and --fresh: it reads records. --plugin and --suite: it plans.
TABLE = """
                 -p  -t  -m  -k  --published  --fresh  --store  --suite  --plugin  --local  --cpus
    tour         .   x   .   .   .            .        .        x        x         x        x
    plan         x   x   x   x   .            x        x        x        x         .        .
    run          x   x   x   x   .            x        x        x        x         x        x
    launch       x   x   x   x   .            x        x        x        x         .        .
    search       x   x   x   x   .            x        x        x        x         x        x
    status       x   x   x   x   x            x        x        x        x         .        .
    logs         .   .   .   .   .            .        .        .        .         .        .
    stop         .   .   .   .   .            .        .        .        .         .        .
    cluster      x   x   x   x   .            x        x        x        x         .        .
    rerun        .   .   .   .   .            .        x        x        x         .        .
    board        x   x   x   x   x            x        x        x        x         .        .
    report       x   x   x   x   x            x        x        x        x         .        .
    compare      x   x   .   x   x            x        x        x        x         .        .
    show         .   .   .   .   x            x        x        .        .         .        .
    why          .   .   .   .   x            x        x        x        x         .        .
    accept       x   x   x   x   .            x        x        x        x         .        x
    export       x   x   x   x   x            x        x        x        x         .        .
    publish      x   x   .   .   .            x        x        x        x         .        .
    merge        .   .   .   .   .            .        .        .        x         .        .
    check        .   x   x   .   .            .        .        x        x         .        .
    data         x   x   .   .   .            .        .        x        x         .        .
    artifacts    .   .   .   .   .            .        .        .        x         .        .
"""
FLAGS, *LINES = [line.split() for line in TABLE.strip().splitlines()]
WANTED = {name: {f for f, mark in zip(FLAGS, marks, strict=True) if mark == "x"} for name, *marks in LINES}

#: The words of the grammar that every reader of the README relies on.
LONG = {"-p": "--profile", "-t": "--track", "-m": "--method", "-k": "--filter"}


def options():
    """(command, click option) of every option of every command."""
    for name, command in typer.main.get_command(app).commands.items():
        for param in command.params:
            if param.param_type_name == "option":
                yield name, param


def test_every_command_has_the_options_that_make_sense_and_no_other():
    found = defaultdict(set)
    for name, param in options():
        found[name] |= {*param.opts, *param.secondary_opts} & set(FLAGS)
    assert {name: found[name] for name in COMMANDS} == WANTED


def test_a_flag_means_the_same_everywhere():
    """No command declares a flag of another meaning beside the shared ones, and none takes two by itself."""
    shared = {flag for hint in DECLARED.values() for flag in hint.__metadata__[0].param_decls}
    shared |= {hint.__metadata__[0].default for hint in DECLARED.values()} - {...}
    assert {*FLAGS, *LONG.values()} <= shared
    said = defaultdict(set)
    for name, param in options():
        for flag in {*param.opts, *param.secondary_opts} & shared:
            said[flag].add((tuple(param.opts), param.help, param.metavar, str(param.default)))
            assert len(said[flag]) == 1, f"bench {name} {flag}"
    for short, long in LONG.items():
        ((opts, *_),) = said[short]
        assert opts == (short, long)


def test_a_short_flag_stands_for_one_long_one():
    meanings = defaultdict(set)
    for _, param in options():
        for flag in param.opts:
            if re.fullmatch("-[a-z]", flag):
                meanings[flag].add(tuple(param.opts))
    assert all(len(m) == 1 for m in meanings.values()), meanings


def test_every_option_and_command_says_what_it_is():
    assert all(param.help and param.help.endswith((".", ").")) for _, param in options())
    for name, command in typer.main.get_command(app).commands.items():
        assert inspect.cleandoc(command.help or "").endswith("."), name


# ------------------------------------------------------------------------------------------- and it is obeyed


@pytest.fixture
def ran(sandbox, bench):
    sandbox.copy("grids")
    sandbox.of("grids", grid={"scales": [1, 4]})
    assert bench(*sandbox.arguments("run", "--local", "-m", "single", "-m", "prior")).code == 0
    return sandbox, bench


@pytest.mark.parametrize("command", ["plan", "status", "board", "export"])
def test_a_name_is_a_row_and_a_wildcard_a_family(ran, command):
    sandbox, bench = ran
    line = [command, *(["--format", "csv"] if command in ("board", "export") else [])]

    def rows(*words):
        said = bench(*sandbox.arguments(*line, *words))
        assert said.code == 0, said.err
        known = ("single/wide", "multi/dnn", "multi/shared", "prior", "single")
        return {r for r in known if re.search(rf"(^|[ ,\"]){re.escape(r)}([ ,\"]|$)", said.out, re.M)}

    assert rows("-m", "single", "-k", "scale=4") == {"single"}
    assert rows("-m", "single*", "-k", "4x") == {"single", "single/wide"}
    assert rows("-m", "multi/*", "-m", "prior", "-k", "4x") == {"multi/dnn", "multi/shared", "prior"}


@pytest.mark.parametrize("command", ["plan", "run", "status", "board", "report", "export", "accept"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "singel"], "-m singel: no row matches; did you mean 'single'?"),
        (["-m", "multi"], "-m multi: no row matches; its variants are rows: 'multi/*'"),
        (["-k", "scale=2"], "-k scale=2: no scale is '2'; there is 1, 4"),
        (["-k", "hotels"], "no task is '*hotels*'; there is flights-1x, flights-4x"),
        (["-t", "gridz"], "no track 'gridz'; did you mean 'grids'?"),
    ],
)
def test_a_filter_that_selects_nothing_is_an_error(sandbox, bench, command, words, said):
    sandbox.use("grids").of("grids", grid={"scales": [1, 4]})
    more = ["--reason", "x"] if command == "accept" else []
    wrong = bench(*sandbox.arguments(command, *words, *more))
    assert (wrong.code, said in wrong.err) == (2, True), wrong


def test_published_and_fresh_exclude_each_other(ran):
    sandbox, bench = ran
    wrong = bench(*sandbox.arguments("board", "--published", "--fresh"))
    assert (wrong.code, "give one of the two" in wrong.err) == (2, True)


def test_published_records_alone_and_the_store_alone(sandbox, bench, monkeypatch, tmp_path):
    """Each of the commands that read records reads the layer that is asked for."""
    sandbox.use("grids").of("grids", grid={"scales": [4]})
    bench(*sandbox.arguments("run", "--local", "-m", "single", "-m", "prior"))
    folder = tmp_path / "results"
    assert bench(*sandbox.arguments("publish", "--partial", "--out", str(folder / "laptop"))).code == 0
    for module in ("bench.cli.session", "bench.cli.sweep.tour", "bench.cli.records.accept"):
        monkeypatch.setattr(f"{module}.results_folder", lambda: folder)
    sandbox.arguments = _with_store(sandbox, tmp_path / "empty")
    keys = {r.cell["row"]: r.key for r in sandbox.records()}

    def done(*words):
        return bench(*sandbox.arguments(*words))

    assert "2 done" in done("status").out
    assert "2 done" in done("status", "--published").out
    assert "2 done" not in done("status", "--fresh").out
    assert "published" in done("export", "--published").out
    assert "published" not in done("export", "--fresh").out
    assert done("compare", "single", "prior", "--published").code == 0
    key = keys["single"]
    assert done("why", key, "--published").code == 0
    store = ["--store", str(tmp_path / "empty")]
    assert bench("show", key, "--published", *store).code == 0
    assert bench("show", key, *store).code == 0
    wrong = bench("show", key, "--fresh", *store)
    assert (wrong.code, "no record of" in wrong.err) == (2, True)


def _with_store(sandbox, folder):
    """The sandbox's command lines on another store."""

    def arguments(*words):
        return [*type(sandbox).arguments(sandbox, *words, store=False), "--store", str(folder)]

    return arguments


def test_compare_finds_the_one_track_that_has_both_rows(ran):
    sandbox, bench = ran
    assert bench(*sandbox.arguments("compare", "single", "prior", "-t", "grids")).code in (0, 1)
    wrong = bench(*sandbox.arguments("compare", "single", "priro"))
    assert (wrong.code, "has no row 'priro'; did you mean 'prior'?" in wrong.err) == (2, True), wrong
