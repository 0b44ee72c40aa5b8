"""Copies of public data that a command brings, with a stand-in for what downloads them."""

import sys
from dataclasses import replace
from types import ModuleType
from urllib.error import URLError

import pytest
from data_command import bench
from uninstalled import uninstalled

from bench.data import fetching
from bench.errors import BenchError


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def downloads(monkeypatch, write):
    """Let the copy be written by a function, without pysteps."""
    copy = replace(fetching.COPIES["pysteps-data"], download=write, needs={})
    monkeypatch.setattr(fetching, "COPIES", {"pysteps-data": copy})


def frames(text):
    def write(folder):
        (folder / "radar").mkdir()
        (folder / "radar" / "frame").write_text(text)

    return write


def test_fetches_into_the_folder_of_the_data_and_says_what_comes_next(data, monkeypatch):
    downloads(monkeypatch, frames("first"))
    said = bench("fetch", "pysteps-data")
    assert f"pysteps-data: 1 files in {data / 'pysteps-data'}, from https://github.com/pySTEPS" in said
    assert said.endswith("next: bench data prepare mrms knmi fmi meteoswiss bom")
    assert (data / "pysteps-data/radar/frame").read_text() == "first"


def test_replaces_nothing_unless_it_is_told_to_and_then_keeps_other_files(data, monkeypatch):
    downloads(monkeypatch, frames("first"))
    bench("fetch", "pysteps-data")
    (data / "pysteps-data/mine").write_text("mine")
    downloads(monkeypatch, frames("second"))
    with pytest.raises(BenchError, match="is there already: bench data fetch pysteps-data --again"):
        bench("fetch", "pysteps-data")
    assert "2 files" in bench("fetch", "pysteps-data", "--again")
    assert (data / "pysteps-data/radar/frame").read_text() == "second"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError("Name or service not known"), "Name or service not known"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("no archive"), "no archive"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing_and_says_what_else_helps(data, monkeypatch, error, said):
    def write(folder):
        (folder / "half").write_text("half")
        raise error

    downloads(monkeypatch, write)
    with pytest.raises(BenchError, match=rf"{said}.*bring a copy of it yourself, as {data}/pysteps-data"):
        bench("fetch", "pysteps-data")
    assert not list(data.iterdir())


def test_without_pysteps_the_command_that_installs_it_is_said(data, monkeypatch):
    uninstalled(monkeypatch, "pysteps")
    with pytest.raises(BenchError, match=r"'pysteps' is not installed: pip install 'gridbench\[radar\]'"):
        bench("fetch", "pysteps-data")


def test_pysteps_own_downloader_is_called(data, monkeypatch):
    asked = []
    module = ModuleType("pysteps.datasets")
    module.download_pysteps_data = lambda folder, force: asked.append((folder, force))
    monkeypatch.setitem(sys.modules, "pysteps", ModuleType("pysteps"))
    monkeypatch.setitem(sys.modules, "pysteps.datasets", module)
    fetching.COPIES["pysteps-data"].download(data)
    assert asked == [(str(data), True)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ((), "which\\? pysteps-data"),
        (("pystep-data",), "did you mean 'pysteps-data'"),
        (("mrms",), "mrms comes with pysteps-data: bench data fetch pysteps-data"),
        (("criteo",), "criteo cannot be fetched by a command; it comes from: Kaggle"),
    ],
)
def test_names_what_can_be_fetched(data, name, said):
    with pytest.raises(BenchError, match=said):
        bench("fetch", *name)
