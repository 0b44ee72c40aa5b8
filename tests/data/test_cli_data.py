"""`bench data`: what it lists, checks, prepares, and refuses."""

from __future__ import annotations

import ctr_reference as reference
import pytest
from data_command import bench

from bench.contract import BenchError
from bench.data.catalog import CATALOG, root


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def test_lists_what_is_missing_its_terms_and_where_it_is_looked_for(data):
    said = bench("list", "-p", "paper", "-t", "embedding_scale")
    assert f"no file train.txt in {data / 'criteo'}" in said
    assert said.count("missing as above") == 8, "of each data set a sentence once"
    assert said.count("no file train.txt") == 1
    assert "licence text was not found" in said
    assert bench("-p", "paper", "-t", "embedding_scale") == said


def test_prepares_checks_and_then_has_it(data):
    reference.write(data / "criteo" / "train.txt", "criteo", 600)
    with pytest.raises(BenchError, match=r"600 rows, the published data set has 45,840,617.*--partial"):
        bench("prepare", "criteo")
    assert "is not prepared: bench data prepare criteo" in bench(
        "list", "-p", "paper", "-t", "embedding_scale"
    )
    said = bench("prepare", "criteo", "--partial")
    assert "criteo: 600 rows (480, 60, 60)" in said
    assert "not the same" in said
    assert bench("check", "criteo") == said
    assert "-part" in bench("list", "-p", "paper", "-t", "embedding_scale")
    x = data / "criteo" / "prepared" / "x.npy"
    x.write_bytes(x.read_bytes()[:-1] + b"\7")
    assert "x.npy: its bytes are not those that were written" in bench("check", "criteo", code=1)
    assert bench("prepare", "criteo", "--partial", "--again") == said


def test_check_of_all_says_each_and_fails_if_one_is_missing(data):
    said = bench("check", code=1)
    assert "flights: here, " in said
    assert "openmoji-line: here, " in said
    assert "fluent-3d: here, " in said
    assert "criteo: no file train.txt" in said
    assert "avazu: no file train in" in said
    assert bench("check", "flights").startswith("flights: here")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("chek",), "did you mean 'check'"),
        (("prepare",), "which\\? criteo, avazu"),
        (("prepare", "creteo"), "did you mean 'criteo'"),
        (("prepare", "flights"), "needs no preparation"),
        (("check", "flihgts"), "did you mean 'flights'"),
        (("list", "criteo"), "takes no names"),
    ],
)
def test_refuses_with_the_nearest_word(data, args, said):
    with pytest.raises(BenchError, match=said):
        bench(*args)


def test_the_folder_is_absolute_and_beside_the_results_unless_named(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert root().is_absolute()
    assert (root().parent / "bench.yaml").is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", "here")
    assert root() == tmp_path / "here"
    assert CATALOG["avazu"].folder == tmp_path / "here" / "avazu"
