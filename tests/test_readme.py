"""What the README says of the tracks is what the suite plans and the boards print, and its example runs."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.registry import Registry
from bench.suite import Suite, resolve

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINES = [[c.strip() for c in line.strip("|").split("|")] for line in README.splitlines() if "| `" in line]
#: Track -> its line; papers' tracks that are planned and not built have one, too.
TRACKS = {
    n: line for line in LINES if len(line) == 6 and (n := line[1].strip("`")) in Registry().track_names()
}
SUITE = Suite.read(ROOT / "bench.yaml")
TITLED = re.compile(r"^## (.+)\n\n(.+)$", re.M)


def test_every_track_stands_in_the_table():
    assert sorted(TRACKS) == Registry().track_names()


@pytest.mark.parametrize("name", sorted(TRACKS))
def test_the_table_says_what_the_leaderboard_says(name):
    title = Registry().track(name).title
    said = dict(TITLED.findall((ROOT / "results" / "LEADERBOARD.md").read_text()))
    assert TRACKS[name][5] == said.get(title, "").replace("\\", ""), "nothing, until a board is published"


@pytest.mark.parametrize("name", [n for n, t in SUITE.tracks.items() if {"laptop", "paper"} <= {*t.profiles}])
def test_the_table_counts_rows_and_tasks_as_the_suite_does(name):
    (laptop,), (paper,) = (resolve(SUITE, Registry(), p, (name,)) for p in ("laptop", "paper"))
    _, _, rows, tasks, *_ = TRACKS[name]
    assert rows == f"{len(laptop.core)}, and {len(laptop.ablations)} ablations"
    assert tasks == ", ".join(str(len(t.track.tasks(t.grid))) for t in (laptop, paper))


def test_the_baseline_of_the_readme_keeps_the_contract(tmp_path):
    (code,) = re.findall(r"```python\n(.+?)```", README, re.S)
    file = tmp_path / "mine.py"
    file.write_text(code)
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code == 0, done.output
