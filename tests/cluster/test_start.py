"""The driver of a launched sweep, before anything of ours runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(tmp_path):
    """Starts the driver where ``ray`` is what a test makes of it."""
    packages = tmp_path / "packages"
    packages.mkdir()

    def run(ray, *words):
        (packages / "ray").mkdir(exist_ok=True)
        (packages / "ray" / "__init__.py").write_text(ray)
        (packages / "ray" / "tune.py").write_text("")
        path = f"{packages}:{ROOT}"
        return subprocess.run(
            [sys.executable, "-m", "bench.cluster.start", "bench-x-1", *words], cwd=tmp_path, text=True,
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}, capture_output=True, check=False,
        )  # fmt: skip

    return run


def test_a_cluster_without_a_package_is_told_in_two_lines(start, tmp_path):
    done = start("raise ImportError(\"No module named 'torch'\")", "run", "-p", "paper")
    assert done.returncode == 2
    assert "on the cluster cannot run gridbench: No module named 'torch'" in done.stderr
    assert "Launch with --uv or --pip" in done.stderr
    assert done.stderr.count("\n") == 2, "no traceback"
    assert list(tmp_path.glob("*.pid")) == []


def test_the_command_line_gets_the_rest_and_its_exit_code_is_the_drivers(start, tmp_path):
    done = start("", "run", "-p", "papre", "--local", "--store", str(tmp_path / "store"))
    assert (done.returncode, "no profile 'papre'; did you mean 'paper'?" in done.stderr) == (2, True), done
    assert list(tmp_path.glob("*.pid")) == []
