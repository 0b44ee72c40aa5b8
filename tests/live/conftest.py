"""A small grid for tests of the live view."""

import pytest


@pytest.fixture
def grids(sandbox):
    sandbox.copy("grids")
    sandbox.of("grids", seeds=2, grid={"scales": [1, 4]})
    return sandbox
