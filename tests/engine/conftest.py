"""What the tests of the engine share: one sweep without Ray over every way a cell can end."""

import pytest


@pytest.fixture(scope="session")
def ended_here(laboratory, tmp_path_factory):
    """The faults stub, run here; to be looked at, not to be changed."""
    from test_engine_status import ENDS

    lab = laboratory(tmp_path_factory.mktemp("ended"))
    lab.use("faults").of("faults", run={"flag": str(lab.folder / "flag")})
    assert not lab.run(*ENDS).stopped
    return lab
