"""The records that are committed can be read, are whole rows of cells planned today, and make a board.

What is not published is not asked for: a new file, task or track is red only once a part of it is published.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest
from nightly import at_night

from bench.board.collect import boards
from bench.board.text import markdown
from bench.plan import Plan, make_plan, plan_searches
from bench.registry import Registry
from bench.store.committed.layers import results_folder
from bench.store.committed.reading import load_committed
from bench.suite import Suite

RESULTS = Path(__file__).resolve().parents[1] / "results"
FILES = sorted((RESULTS / "laptop").glob("*.jsonl"))
NEWCOMER = """from bench.contract import method
@method("{track}", name="N", id="newcomer")
def f(data, hp, ctx): return 1.0
"""


def planned(file: Path, records) -> Plan:
    suite = Suite.read(RESULTS.parent / "bench.yaml")
    return make_plan(suite, Registry(), records, file.parent.name, tracks=[file.stem])


def unsound(plan: Plan, published: Iterable[str]) -> list[str]:
    """What is wrong with published keys: such as no plan asks for, and holes in a row that is there: a row on
    some of the published tasks or seeds only (ablations: of those planned for them).
    """
    known, keys = {c.key: c for c in plan.cells}, set(published)
    rows = {c.row for c in plan.cells if c.key in keys and c.alias_of is None}
    tasks = {known[k].task.name for k in keys & set(known)}
    holes = [
        f"{c.row} on {c.task.name}, seed {c.cell.seed}: not published"
        for c in plan.cells
        if c.skip is None and c.row in rows and c.task.name in tasks and c.key not in keys
    ]
    return [*(f"{k}: no plan asks for it" for k in sorted(keys - set(known))), *holes]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_published_records_are_whole_rows_of_planned_cells(file):
    records = load_committed(file)
    plan = planned(file, records)
    assert records.problems == []
    searches = plan_searches(plan, Registry(), records, records.draws()).values()
    drawn = {c.key for found, _ in searches for c in found.cells} - {c.key for c in plan.cells}
    assert unsound(plan, records.summaries().keys() - drawn) == []
    reference = plan.tracks[0].track.reference
    assert any(c.row == reference and c.summary for c in plan.cells)
    (board,) = boards(plan, records, RESULTS / "published")
    assert board.rows[0].rank == 1
    assert "laptop numbers are not the paper's" in markdown.render(board)


@pytest.mark.parametrize("file", [FILES[0], *map(at_night, FILES[1:])], ids=lambda f: f.stem)
def test_a_new_file_asks_for_nothing_until_a_part_of_it_is_published(file, newcomer):
    records = load_committed(file)
    (before,) = boards(planned(file, records), records, RESULTS / "published")
    newcomer(f"baselines/{file.stem}/newcomer.py", NEWCOMER.format(track=file.stem))
    plan = planned(file, records)
    heads, mine = set(records.summaries()), [c.key for c in plan.cells if c.row == "newcomer"]
    assert len(mine) > 3
    assert unsound(plan, heads) == []
    assert len(unsound(plan, {*heads, mine[0]})) == len(mine) - 1, "a part of a row"
    assert unsound(plan, {*heads, *mine}) == []
    (board,) = boards(plan, records, RESULTS / "published")
    ranks = [(r.info.row, r.rank, r.letters, r.mean) for r in board.rows if r.info.row != "newcomer"]
    assert ranks == [(r.info.row, r.rank, r.letters, r.mean) for r in before.rows], "it holds up no board"


def test_a_hole_and_a_record_that_nobody_plans_are_found():
    records = load_committed(FILES[0])
    plan, heads = planned(FILES[0], records), set(records.summaries())
    for gone in [c for c in plan.cells if c.alias_of is None and c.skip is None][::40]:
        assert unsound(plan, heads - {gone.key}) == [
            f"{c.row} on {c.task.name}, seed {c.cell.seed}: not published"
            for c in plan.cells
            if c.key == gone.key
        ]
    assert unsound(plan, {*heads, "0" * 64}) == [f"{'0' * 64}: no plan asks for it"]


def test_a_clone_reads_its_own_results():
    assert results_folder() == RESULTS


def test_no_published_file_names_a_host_or_a_path():
    for file in (*FILES, RESULTS / "LEADERBOARD.md"):
        text = file.read_text(encoding="utf-8")
        for private in ("/home/", "/root/", "/tmp/", "/work/"):
            assert private not in text, f"{file.name} names {private}"
