"""What the tests of the command line share: a small grid, and one whose cells have run."""

import shutil

import pytest


@pytest.fixture
def grids(sandbox):
    sandbox.copy("grids")
    sandbox.of("grids", seeds=2, grid={"scales": [1, 4]})
    return sandbox


@pytest.fixture(scope="module")
def swept(make_sandbox, tmp_path_factory):
    """The small grid, run once; a test works on a copy of its store."""
    sandbox = make_sandbox(tmp_path_factory.mktemp("swept"))
    sandbox.copy("grids")
    sandbox.of("grids", seeds=2, grid={"scales": [1, 4]})
    assert not sandbox.run().stopped
    return sandbox


@pytest.fixture
def ran(grids, bench, swept):
    shutil.copytree(swept.store_folder, grids.store_folder)
    return grids, bench
