"""What makes a record stale, on the real track in a clone: no comment does, a network marks exactly its
cells.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRACK = "embedding_scale"
DCNV2 = Path("bench/tracks/embedding_scale/nets/dcnv2.py")
#: The rows whose cells load that network; the ablation with one interaction has a network of its own.
ON_DCNV2 = {
    "single/dcnv2", "multi/dcnv2", "multi-norm-aligned/dcnv2", "multi-space-similarity/dcnv2",
    "single-regularised/dcnv2", "single-singular-values/dcnv2",
}  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with a finished smoke sweep."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("bench", "methods", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bench.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    bench(folder, "run", "--local", "-p", "smoke", "-t", TRACK)
    return folder


def bench(folder: Path, *args: str) -> str:
    command = [sys.executable, "-m", "bench.cli", *args]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def states(folder: Path) -> dict[str, str]:
    """Row -> state of its smoke cell."""
    lines = [
        line.split() for line in bench(folder, "plan", "-p", "smoke", "-t", TRACK, "--cells").splitlines()
    ]
    return {words[6]: words[1] for words in lines if len(words) > 6 and len(words[0]) == 16}


@pytest.mark.slow
def test_only_code_that_a_cell_rests_on_makes_it_stale(clone):
    before = states(clone)
    assert set(before.values()) == {"done"}
    assert {"single/dcnv2", "multi/dcnv2", "single/dnn", "multi/dnn", "lr", "prior"} <= set(before)

    for file in sorted((clone / "bench" / "tracks").rglob("*.py")):
        file.write_text(file.read_text() + "\n\n# only a comment\n")
    docstring = (clone / DCNV2).read_text().replace('"""', '"""Said otherwise. ', 1)
    (clone / DCNV2).write_text(docstring)
    assert states(clone) == before

    (clone / DCNV2).write_text(docstring + "\nCHANGED = 1\n")
    after = states(clone)
    assert {row for row, state in after.items() if state == "stale"} == ON_DCNV2
    assert "nets.dcnv2 changed since" in bench(clone, "plan", "-p", "smoke", "-t", TRACK)
    assert f"{len(ON_DCNV2)} stale" in bench(clone, "board", TRACK, "-p", "smoke")
