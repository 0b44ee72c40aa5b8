"""What the tests of the command line share: a small grid, and one whose cells have run."""

import shutil

import pytest


@pytest.fixture
def grids(lab):
    lab.copy("grids")
    lab.of("grids", seeds=2, grid={"scales": [1, 4]})
    return lab


@pytest.fixture(scope="module")
def swept(laboratory, tmp_path_factory):
    """The small grid, run once; a test works on a copy of its store."""
    lab = laboratory(tmp_path_factory.mktemp("swept"))
    lab.copy("grids")
    lab.of("grids", seeds=2, grid={"scales": [1, 4]})
    assert not lab.run().stopped
    return lab


@pytest.fixture
def ran(grids, bench, swept):
    shutil.copytree(swept.store_folder, grids.store_folder)
    return grids, bench
