"""However narrow the window and long the names: no table and no line breaks a name in its middle."""

import pytest
from nightly import at_night

from bench.cli import console as consoles
from bench.cli.records.show import tables
from bench.contract import Record

WIDTHS = (20, at_night(60), 80, at_night(100), 132)
FOLDER = "a-folder-that-is-named-as-long-as-those-of-xdist-workers/popen-gw0/and-one-more-below-it"


@pytest.fixture
def narrow(bench, monkeypatch):
    """Runs a command in a window of so many columns; gives back the words that it printed."""

    def at(width, *words):
        monkeypatch.setattr(consoles.console, "width", width)
        monkeypatch.setattr(consoles.errors, "width", width)
        said = bench(*words)
        assert said.code == 0, said.err
        return said.out.split()

    return at


@pytest.fixture
def wide(sandbox):
    """More tasks than a table holds; data that are missing in a folder of a long name."""
    stub = sandbox.copy("grids")
    text, why = stub.read_text(), "big.csv is not here; download it from nowhere"
    assert why in text
    stub.write_text(
        text.replace(why, f"no file ratings.csv in {sandbox.folder / FOLDER}").replace(
            '"Small only"', '"Small-tasks-only-and-none-that-is-larger [bold]"'
        )
    )
    sandbox.of("grids", seeds=2, grid={"scales": [1, 2, 3, 4, 10, 99]})
    return sandbox


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", ["plan", "plan --cells", "status", "data", "board"])
@pytest.mark.parametrize("few", [True, False])
def test_names_stay_whole(wide, narrow, words, width, few):
    if few:
        wide.of("grids", seeds=2, grid={"scales": [1, 4, 99]})
    cells = wide.plan().cells
    said = narrow(width, *wide.arguments(*words.split(), store=words != "data"))
    named = {c.task.name for c in cells}
    if words in ("plan", "plan --cells", "status"):
        named |= {c.row for c in cells}
    if words == "plan --cells":
        named |= {c.key for c in cells}
    if words == "board":
        named |= {w for c in cells for w in c.shown.method.label(c.row).split()}
    if words in ("plan", "plan --cells", "data"):
        named |= {"ratings.csv", str(wide.folder / FOLDER)}
    assert {n for n in named if not any(n in word for word in said)} == set()


@pytest.mark.parametrize("width", WIDTHS)
def test_what_a_record_names_stays_whole(monkeypatch, capsys, width):
    monkeypatch.setattr(consoles.console, "width", width)
    code, recipe = f"sha256-{0:032x}.json", {"a_setting_of_a_long_name": "a-value-of-a-long-name"}
    record = Record(
        key="k" * 64, kind="cell",
        cell={"track": "t", "task": "flights-4x", "row": "single/wide-and-deep", "seed": 0},
        status="failed", reason=f"no file {FOLDER}",
        provenance={"code": code, "ran_with": {"recipe": recipe}},
    )  # fmt: skip
    for table in tables(record):
        consoles.console.print(table)
    said = {w.strip(",") for w in capsys.readouterr().out.split()}
    assert {record.key, "flights-4x", "single/wide-and-deep", FOLDER, code} - said == set()
    assert any("a-value-of-a-long-name" in w for w in said)
