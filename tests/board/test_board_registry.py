"""Pictures and derived tables that a file of ours or a plugin declares: shown without an edit elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from golden import as_text
from sample_board import sample_board, sample_spec

from bench.board import DerivedTable, registry
from bench.board.model import Board
from bench.board.registry import Element, pictures, tables
from bench.contract import BenchError

FOLDER = Path(registry.__file__).parent
PLUGIN = '''"""A table and a picture of how many cells a row has."""

from bench.board import DerivedTable, draw, picture, table


def cells(board):
    return {r.info.label: sum(len(c.slots) for c in r.cells) for r in board.every_row}


@table("cells", track="names")
def how_many(board):
    rows = [(label, str(n)) for label, n in cells(board).items()]
    return DerivedTable("Cells of each row", "as planned", ("row", "planned cells"), rows)


@picture("cells")
def bars(board):
    def on(figure):
        figure.subplots().barh(list(cells(board)), list(cells(board).values()))
        return "How many cells each row has."

    return draw(board, "cells", on, width=5, height=2)
'''


def element(make, kind="table", track="any", name="mine"):
    return Element(kind, name, track, 100, make)


def with_elements(*elements, **changes):
    return Board(sample_spec(elements=elements, **changes), [])


@pytest.fixture
def plugin(sandbox, tmp_path):
    """A suite of the stub track ``names``, and a plugin file that the test writes."""
    sandbox.use("names")
    sandbox.of("names", ranks_by="base")

    def write(text):
        path = tmp_path / "shows.py"
        path.write_text(text)
        sandbox.plugins.append(str(path))
        return path

    return sandbox, write


def test_a_plugin_shows_its_table_and_its_picture(plugin, bench, tmp_path):
    sandbox, write = plugin
    assert "Cells of each row" not in bench(*sandbox.arguments("board")).out
    write(PLUGIN)
    for kind in ("terminal", "markdown"):
        said = bench(*sandbox.arguments("board", "--format", kind))
        assert said.code == 0
        assert "Cells of each row" in said.out
        assert "planned cells" in said.out
    page = tmp_path / "page" / "index.html"
    assert bench(*sandbox.arguments("report", "--out", str(page))).code == 0
    text = page.read_text()
    assert "Cells of each row" in text
    assert "<figcaption>How many cells each row has.</figcaption>" in text
    assert "Cells of each row" in page.with_name("LEADERBOARD.md").read_text()


def test_a_plugin_that_only_shows_costs_a_plan_nothing(tmp_path):
    path = tmp_path / "shows.py"
    path.write_text(PLUGIN)
    code = (
        "import sys; from bench.registry import Registry; r = Registry(plugins=sys.argv[1:])\n"
        "assert r.plugin_modules() and r.rows('dit_transfer')\n"
        "print(*[m for m in ('matplotlib', 'numpy', 'scipy', 'jinja2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('track="names"', 'track="nams"', "shows.py:10: table 'cells': no track 'nams'; did you mean"),
        ("str(n))", "n)", "shows.py:10: table 'cells': table 'Cells of each row': a row is ("),
        ("return {r.info", "return 1 / 0 and {r.info", "shows.py:7: ZeroDivisionError: division by zero"),
        ("return DerivedTable(", "return len(rows) or (", "shows.py:10: table 'cells': gave int; expected"),
        ('draw(board, "cells"', 'draw(board, "states"', "shows.py:16: picture 'cells': the board has"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_plugin_is_said_with_its_place(plugin, bench, tmp_path, old, new, said):
    sandbox, write = plugin
    assert old in PLUGIN
    write(PLUGIN.replace(old, new))
    found = bench(*sandbox.arguments("report", "--out", str(tmp_path / "index.html")))
    assert found.code == 2
    assert said in found.err.replace("\n", "")


def test_what_is_declared_for_one_track_is_on_its_boards_alone():
    made = [element(lambda board: DerivedTable("Mine", "", ("row",), [("x",)]), track="sample_ctr")]
    assert [t.title for t in tables(with_elements(*made))][-1] == "Mine"
    made[0] = element(made[0].make, track="another")
    assert "Mine" not in [t.title for t in tables(with_elements(*made))]


def test_an_element_may_give_several_or_nothing():
    one, two = (DerivedTable(title, "", ("row",), [("x",)]) for title in ("One", "Two"))
    board = with_elements(element(lambda board: [one, two]), element(lambda board: None))
    assert [t.title for t in tables(board)][-2:] == ["One", "Two"]


@pytest.fixture
def contributor(newcomer):
    """Lays a file into a folder of the board, whose files are otherwise found once a process."""
    registry._ours.cache_clear()
    yield newcomer
    registry._ours.cache_clear()


def test_a_mistake_in_our_own_files_is_no_users_mistake(contributor):
    broken = "from bench.board.registry import table\n@table('x')\ndef x(board): return 1 / 0\n"
    contributor("board/tables/broken.py", broken)
    with pytest.raises(ZeroDivisionError):
        tables(sample_board())


def test_a_file_in_the_folder_is_all_that_a_picture_takes(contributor):
    contributor("board/plots/mine.py", PLUGIN)
    assert [p.name for p in pictures(sample_board())][-1] == "sample_ctr-cells"


def test_a_table_wider_than_the_window_goes_on_below_and_names_its_rows_again():
    heads = ("row", *(f"column {k}" for k in range(12)))
    wide = DerivedTable("Wide", "a note", heads, [("a row of that name", *["0.1234 (0.1 to 0.2)"] * 12)])
    out = as_text(with_elements(element(lambda board: wide)), 100)
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("a row of that name") == 4, "three columns of numbers have room beside it"
    assert all(head in out for head in heads)


@pytest.mark.parametrize("folder", ["plots", "tables"])
def test_every_file_of_ours_declares_one_thing(folder):
    files = {p for p in (FOLDER / folder).glob("*.py") if p.stem != "__init__"}
    assert sorted(e.file for e in registry._ours(folder)) == sorted(map(str, files))


def test_a_table_names_a_row_that_does_not_fit():
    with pytest.raises(BenchError, match="expected 2 texts, one for each of row, n"):
        DerivedTable("T", "", ("row", "n"), [("a",)])
