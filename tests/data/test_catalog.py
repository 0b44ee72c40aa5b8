"""The catalogue: every data set answers the same questions, and is imported only when it is opened."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from bench import packages
from bench.data.catalog import CATALOG
from bench.data.drawings import stamps
from bench.data.source import DataSource
from bench.errors import BenchError

#: What needs no preparation but has to be brought.
BROUGHT = ("stamps", "moving-mnist", "turbulent-flow")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(
        stamps, "INSTALLED", tmp_path / "not-installed"
    )  # whether Debian's package is here or not
    return tmp_path


@pytest.mark.parametrize("name", CATALOG)
def test_every_data_set_answers_what_a_data_source_is_asked(name):
    source = CATALOG[name].open()
    for question in ("missing", "fingerprint", "prepare", "verify"):
        asked = inspect.signature(getattr(source, question)).parameters
        expected = [p for p in inspect.signature(getattr(DataSource, question)).parameters if p != "self"]
        assert list(asked) == expected, question
    why = source.missing()
    if CATALOG[name].prepared:
        assert f"bench data prepare {name}" in why, "nothing was brought into an empty folder"
        with pytest.raises(BenchError, match=name):
            source.verify()
    else:
        assert source.prepare() is None
        absent = {*BROUGHT} | ({"earth-heights"} if packages.version("itur") is None else set())
        assert (why is None) == (name not in absent)
        assert why is not None or len(source.fingerprint()) == 16


def test_names_are_their_own_and_every_set_says_where_it_comes_from_and_on_which_terms():
    for name, d in CATALOG.items():
        assert d.name == name
        assert d.title
        assert d.get
        assert d.terms
        assert d.layout


def test_the_catalogue_imports_no_reader():
    code = (
        "import sys, bench.data.catalog as c; list(c.CATALOG);"
        "print(sorted(m for m in sys.modules if m.startswith('bench.data.') or m in ('numpy', 'pandas')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['bench.data.catalog', 'bench.data.catalog_fields']"
