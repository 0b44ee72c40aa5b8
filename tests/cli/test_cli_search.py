"""`bench search` and the rules of `bench board --select`, by command, on a track whose scores are known."""

import json
import math
import re
import shutil
import sys

import pytest

from bench import cli
from bench.board.collect import boards
from bench.store.committed.reading import load_committed


def suite(sandbox, **how):
    sandbox.use("hills")
    sandbox.of("hills", **{"seeds": 1, "grid": {"scales": [4]}, **how})
    return sandbox


@pytest.fixture
def hills(sandbox):
    return suite(sandbox)


@pytest.fixture(scope="module")
def climbed(make_sandbox, tmp_path_factory):
    """A search of three draws of two rows, run once by the command; a test works on a copy of its store."""
    sandbox = suite(make_sandbox(tmp_path_factory.mktemp("climbed")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bench", *line(sandbox, "plain", "rate")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert not ended.value.code
    return sandbox


@pytest.fixture
def searched(climbed, hills):
    shutil.copytree(climbed.store_folder, hills.store_folder)
    return hills


def line(sandbox, *rows, draws=3, more=()):
    named = [x for row in rows for x in ("-m", row)]
    return sandbox.arguments("search", *named, "--draws", str(draws), "--local", *more)


def cells(sandbox, row):
    return [r for r in sandbox.records() if r.cell["row"] == row]


def top(x):
    """The test score of the row ``rate`` where its rate is ``x``."""
    return -abs(math.log10(x) + 1.5)


# ----------------------------------------------------------------------------------------------- the command


def test_each_row_gets_the_same_number_of_draws_the_first_of_them_its_default(searched, bench):
    plain, rate = cells(searched, "plain"), cells(searched, "rate")
    assert (len(plain), len(rate)) == (3, 3)
    assert {"lr": 0.1} in [r.cell["hp"] for r in plain]
    assert all(r.cell["hp"] == {} for r in rate)
    assert sum(r.cell["run"] == {} for r in rate) == 1, "the default, as any other cell of the profile"
    planned = searched.plan("plain", "rate")
    assert [c.state for c in planned.cells] == ["done", "done"]
    again = bench(*line(searched, "plain", "rate"))
    assert "plain: 3 draws over lr from 0.01 to 1 (log)" in again.out
    assert "rate: 3 draws over rate from 0.01 to 1 (log)" in again.out
    assert again.out.splitlines()[-1] == "nothing to run"


def test_more_draws_add_to_those_that_are_there(searched, bench):
    before = {r.key for r in searched.records()}
    said = bench(*line(searched, "plain", draws=4))
    assert re.search(r"1 cells and stages ended in .*: 1 ok", said.out), said
    after = {r.key for r in searched.records()}
    assert before < after
    assert len(after - before) == 1


def test_without_rows_everything_with_a_space_is_searched(hills, bench):
    said = bench(*line(hills, draws=2, more=["--budget", "0s"]))
    assert [w.partition(":")[0] for w in said.out.splitlines()[:4]] == ["plain", "rate", "same", "unscored"]
    assert "without a search space, so not searched: fixed" in said.out
    assert "stopped: " in said.out
    assert hills.records() == []


def test_where_a_cell_is_another_rows_by_construction_so_are_its_draws(hills, bench):
    hills.of("hills", grid={"scales": [1]})
    said = bench(*line(hills, "plain", "same", draws=3))
    assert re.search(r"3 cells and stages ended in .*: 3 ok", said.out), said
    assert {r.cell["row"] for r in hills.records()} == {"plain"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "fixed"], r"-m fixed: fixed has no search space.*Rows with one: plain, rate, same, unscored"),
        (["-m", "plane"], r"-m plane: no row matches"),
        (["--adaptive", "--sampler", "qmc"], r"--adaptive draws by TPE, --sampler qmc by another sampler"),
    ],
)
def test_a_mistake_is_one_message(hills, bench, words, said):
    got = bench(*hills.arguments("search", "--local", *words))
    assert got.code == 2
    assert re.search(said, got.err), got
    assert not hills.store_folder.exists()


def test_an_adaptive_search_learns_in_rounds_and_goes_on_where_it_was(hills, bench, monkeypatch):
    from bench.search import rows

    monkeypatch.setattr(rows, "STARTUP", 2)
    monkeypatch.setattr(rows, "ROUND", 1)
    said = bench(*line(hills, "rate", draws=3, more=["--adaptive"]))
    assert said.code == 0, said
    assert said.out.count("cells and stages ended") == 2, "two draws at once, then one that learned from them"
    assert len(cells(hills, "rate")) == 3
    drawn = [json.loads(p.read_text()) for p in (hills.store_folder / "searches").iterdir()]
    assert {(d["sampler"], d["task"]) for d in drawn} == {("tpe", "hill-4x")}
    again = bench(*line(hills, "rate", draws=3, more=["--adaptive"]))
    assert "cells and stages ended" not in again.out
    board = bench(*hills.arguments("board", "-m", "rate", "--select", "validation"))
    assert "adaptive search by TPE, whose draws depend on the order of ends" in board.out


# ------------------------------------------------------------------------------------------------- the board


def board(sandbox, bench, rule, *words):
    return bench(*sandbox.arguments("board", "--select", rule, *words))


def test_the_same_records_give_each_rule_its_board(searched, bench):
    rates = [r.cell["run"].get("rate", 0.1) for r in cells(searched, "rate")]
    best = f"{max(map(top, rates)):.3f}".replace("-", "−")
    default = board(searched, bench, "default", "-m", "rate", "-m", "plain")
    assert "hyper-parameters by the rule “default”, for every row alike" in default.out
    assert re.search(r"Rate \[plugin\] +−0.500", default.out), default.out
    chosen = board(searched, bench, "validation")
    assert (
        "best of 3 by validation: for each row, task and seed the draw of 3 with the best value" in chosen.out
    )
    assert re.search(rf"Rate \[plugin\] +{best}", chosen.out), chosen.out
    left = "Left out, since they have a search space and no search: same, unscored"
    assert left in " ".join(chosen.out.split())
    assert "Same" not in chosen.out
    oracle = board(searched, bench, "oracle", "-m", "rate", "-m", "plain")
    assert oracle.out.splitlines()[1].startswith("Hyper-parameters were chosen on the test data (oracle)")
    for said in (default, chosen, oracle):
        (searches,) = re.findall(r"\nRate +−0.500 +\S+ \(?.*", said.out)
        assert best in searches, "the table of searches is the same by every rule"


def test_validation_and_the_oracle_choose_otherwise_where_validation_misleads(searched, bench):
    """Of the row plain, the validation score is the negative of the test score."""
    scores = [r.metrics["value"] for r in cells(searched, "plain")]
    shown = {
        rule: re.search(r"Plain \[plugin\] +(\S+)", board(searched, bench, rule).out)[1].replace("−", "-")
        for rule in ("validation", "oracle")
    }
    assert {k: float(v) for k, v in shown.items()} == {
        "validation": pytest.approx(min(scores), abs=5e-4), "oracle": pytest.approx(max(scores), abs=5e-4),
    }  # fmt: skip


def test_a_board_without_a_search_says_which_command_makes_one(hills, bench):
    said = board(hills, bench, "validation")
    assert said.code == 2
    assert "--select validation: in store no row of hills was searched; `bench search -t hills" in said.err


def test_rows_are_compared_by_validation_and_not_by_the_oracle(searched, bench):
    words = searched.arguments("compare", "rate", "plain")
    said = bench(*words, "--select", "validation")
    assert said.code == 0, said
    assert "not judged" in said.out, "one seed"
    refused = bench(*words, "--select", "oracle")
    assert (refused.code, "chooses on the test data" in refused.err) == (2, True)


def test_the_page_has_the_table_and_the_curve_of_best_of_n(searched, bench):
    out = searched.folder / "site" / "index.html"
    said = bench(*searched.arguments("report", "--select", "validation", "--out", str(out)))
    assert said.code == 0, said
    page = out.read_text()
    assert "draws that validation chooses among" in page
    assert "best of 3 by validation" in page


def test_a_search_is_published_with_its_records_and_read_without_the_store(searched, bench):
    out = searched.folder / "published"
    said = bench(*searched.arguments("publish", "--partial", "--out", str(out)))
    assert said.code == 0, said
    records = load_committed(out)
    assert records.draws() == searched.store().draws()
    assert len(records.summaries()) == 6
    (made,) = boards(searched.plan(), records, out, searched.registry(), "validation")
    assert (made.spec.search.draws, [r.info.row for r in made.rows if r.mean]) == (3, ["rate", "plain"])


def test_a_draw_is_a_planned_cell_to_the_commands_that_take_a_key(searched, bench):
    key = next(r.key for r in cells(searched, "plain") if r.cell["hp"] != {"lr": 0.1})
    said = bench(*searched.arguments("why", key))
    assert "planned today: hills · hill-4x · plain · seed 0, state done" in said.out
    assert "nothing that decides its numbers has changed since" in said.out


def test_draws_that_are_damaged_or_of_another_space_are_no_draws(searched, bench):
    folder = searched.store_folder / "searches"
    one, other, *_ = sorted(folder.iterdir())
    one.write_text("{")
    other.write_text(other.read_text().replace('"low":0.01', '"low":0.02'))
    said = board(searched, bench, "default")
    assert said.code == 0
    assert re.search(rf"searches/{one.name} is left out: not JSON", said.err), said.err
    assert re.search(rf"searches/{other.name} is left out: it is a draw of another search", said.err)
