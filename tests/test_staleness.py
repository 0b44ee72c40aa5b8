"""What makes a record stale: edits in a copy of the code, and how many published records they concern."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Prints the causes of all published cells of the laptop profile: track, row, task, causes.
LOOK = """
import json, sys
from bench.cli.options import Options
from bench.cli.session import Session
plan = Session.open(Options()).plan()
cells = {c.key: c for c in plan.cells}.values()
print(json.dumps([[c.cell.track, c.cell.row, c.task.name, list(c.causes)] for c in cells]))
"""


class Copy:
    """A copy of the code and of the published records, edited and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bench", "methods", "baselines"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "embedded")
            )
        (folder / "bench/data/embedded").symlink_to(ROOT / "bench/data/embedded")
        for name in ("bench.yaml", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "results").mkdir()
        (folder / "results/laptop").symlink_to(ROOT / "results/laptop")

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, *args], cwd=self.folder, env={**env, "COLUMNS": "200"}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def python(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stale(self) -> dict[tuple[str, str, str], list[str]]:
        """(track, row, task) -> causes of its stale cells; the cell count is in ``self.cells``."""
        found = json.loads(self.python("-c", LOOK))
        self.cells = Counter(track for track, _, _, causes in found if causes)
        self.total = Counter(track for track, *_ in found)
        return {(track, row, task): causes for track, row, task, causes in found if causes}

    def after(self, edits: dict[str, tuple[str, str]]) -> dict[tuple[str, str, str], list[str]]:
        """What is stale after edits (file -> old text, new text), which are then undone."""
        before = {}
        try:
            for name, (old, new) in edits.items():
                path = self.folder / name
                before[path] = path.read_text() if path.exists() else None
                text = before[path] or ""
                assert not old or text.count(old) == 1, (name, old)
                path.write_text(text.replace(old, new) if old else text + new)
            return self.stale()
        finally:
            for path, text in before.items():
                path.unlink() if text is None else path.write_text(text)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("copy"))


DOMAIN = "bench/tracks/multi_domain/"


@pytest.mark.slow
def test_of_the_published_records_none_is_stale(copy):
    assert copy.stale() == {}
    assert sum(copy.total.values()) >= 1590


@pytest.mark.slow
def test_what_plans_shows_or_is_never_reached_makes_nothing_stale(copy):
    """All at once, so that one look tells: a title, a metric's doc and digits, comments, unused functions,
    a new setting, what a method declares beside its function.
    """
    metric = 'Metric(name="parameters", better="lower", digits=0, kind="cost", doc="trained numbers")'
    (metric_text,) = [m for m in (metric,) if m in (copy.folder / "bench/tracks/ood/track.py").read_text()]
    edits = {
        "bench/tracks/ood/track.py": (
            metric_text,
            metric.replace("digits=0", "digits=1").replace("trained", "all"),
        ),
        f"{DOMAIN}track.py": ("Multi-domain learning: images and recommenders", "Another title"),
        f"{DOMAIN}settings.py": ("    rows: Count = 0\n", "    rows: Count = 0\n    extra: float = 0.5\n"),
        "bench/nn/diffusion.py": ("", "\n\ndef never_called(x: int) -> int:\n    return x + 1\n"),
        "bench/tracks/ood/nets/clip.py": ("", "\n\nUNUSED = 3\n"),
        "bench/data/splitting.py": ("", "\n\n# a comment\n"),
        "methods/d_train.py": ('name="D-Train"', 'name="D-Train, decoupled"'),
    }
    assert copy.after(edits) == {}


@pytest.mark.slow
def test_a_moved_and_a_split_file_make_nothing_stale(copy):
    nn, moved = copy.folder / "bench/nn/averaging.py", copy.folder / "bench/nn/means.py"
    edits = {
        str(f.relative_to(copy.folder)): ("", "")
        for f in sorted(copy.folder.rglob("*.py"))
        if f not in (nn, moved) and "bench.nn.averaging" in f.read_text()
    }
    texts = {name: (copy.folder / name).read_text() for name in edits}
    assert texts, "somebody imports it"
    kept = nn.read_text()
    try:
        nn.rename(moved)
        for name, text in texts.items():
            (copy.folder / name).write_text(text.replace("bench.nn.averaging", "bench.nn.means"))
        (copy.folder / "bench/tracks/ood/half.py").write_text(
            (copy.folder / "bench/tracks/ood/nets/heads.py").read_text()
        )
        (copy.folder / "bench/tracks/ood/nets/heads.py").write_text("from bench.tracks.ood.half import *\n")
        assert copy.stale() == {}
    finally:
        moved.rename(nn)
        assert nn.read_text() == kept
        for name, text in texts.items():
            (copy.folder / name).write_text(text)
        shutil.copy(ROOT / "bench/tracks/ood/nets/heads.py", copy.folder / "bench/tracks/ood/nets/heads.py")
        (copy.folder / "bench/tracks/ood/half.py").unlink()


@pytest.mark.slow
def test_a_recipes_line_makes_stale_the_tasks_that_use_it(copy):
    found = copy.after(
        {
            f"{DOMAIN}settings.py": (
                '"insteval": replace(_TABLE, steps=300)',
                '"insteval": replace(_TABLE, steps=301)',
            )
        }
    )
    assert {task for _, _, task in found} == {"insteval"}
    assert copy.cells == {"multi_domain": copy.total["multi_domain"] // 6}, "one of six data sets"
    assert {c for causes in found.values() for c in causes} == {"recipe: steps was 300, is 301"}


@pytest.mark.slow
def test_a_network_and_a_helper_two_imports_away_make_stale_what_reaches_them(copy):
    dcnv2 = copy.after({"bench/tracks/embedding_scale/nets/dcnv2.py": ("", "\n\nclass Single:\n    pass\n")})
    assert {(track, row) for track, row, _ in dcnv2} == {
        ("embedding_scale", f"{m}/dcnv2")
        for m in ("single", "single-wide", "multi", "multi-shared", "multi-norm-aligned",
                  "multi-space-similarity", "single-regularised", "single-singular-values")
    }  # fmt: skip
    assert all(c.startswith("Single changed") for causes in dcnv2.values() for c in causes)
    split = copy.after(
        {"bench/data/splitting.py": ("", "\n\ndef split_groups(*args: object) -> None:\n    return None\n")}
    )
    assert copy.cells["multi_domain"] == copy.total["multi_domain"], "its emoji are split by it"
    assert "embedding_scale" not in copy.cells
    assert all("split_groups changed" in cause for causes in split.values() for cause in causes)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_metric_makes_its_track_stale_until_it_is_verified(copy, tmp_path):
    """A two-line metric: every cell of the track is stale; one of each row and kind is run again, the rest is
    stamped.
    """
    results = copy.folder / "results/laptop"
    results.unlink()
    shutil.copytree(ROOT / "results/laptop", results)
    track = copy.folder / f"{DOMAIN}track.py"
    text = track.read_text()
    new = text.replace(
        "    metrics = (", '    metrics = (\n        Metric(name="spread", better="lower"),', 1
    )
    new = new.replace(
        '"average": float(test.mean()),', '"average": float(test.mean()), "spread": float(test.std()),', 1
    )
    assert new != text
    some = ["-t", "multi_domain", "-m", "joint", "-m", "separate", "-k", "digits"]
    try:
        track.write_text(new)
        assert copy.stale()
        assert copy.cells == {"multi_domain": copy.total["multi_domain"]}
        said = copy.python(
            "-m", "bench.cli", "accept", "--verify", "1", *some, "--store", str(tmp_path / "store")
        )
        assert "2 of them are run again" in said
        assert "30 cells stamped, verified on 2" in said
        copy.stale()
        assert copy.cells == {"multi_domain": copy.total["multi_domain"] - 30}
        board = copy.python("-m", "bench.cli", "board", *some, "--store", str(tmp_path / "store"))
        assert "30 cells verified on 2 of 30 at" in " ".join(board.split())
        track.write_text(
            new.replace('"average": float(test.mean())', '"average": float(test.mean()) + 1e-6', 1)
        )
        verify = ["accept", "--verify", "1", *some, "--store", str(tmp_path / "store")]
        done = copy.run("-m", "bench.cli", *verify)
        assert done.returncode == 1, done.stderr
        assert "average was" in done.stdout
        assert "nothing is stamped" in done.stdout
    finally:
        track.write_text(text)
        shutil.rmtree(results)
        results.symlink_to(ROOT / "results/laptop")
