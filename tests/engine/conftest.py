"""What the tests of the engine share: one sweep without Ray over every way a cell can end."""

import pytest


@pytest.fixture(scope="session")
def ended_here(make_sandbox, tmp_path_factory):
    """The faults stub, run here; to be looked at, not to be changed."""
    from test_engine_status import ENDS

    sandbox = make_sandbox(tmp_path_factory.mktemp("ended"))
    sandbox.use("faults").of("faults", run={"flag": str(sandbox.folder / "flag")})
    assert not sandbox.run(*ENDS).stopped
    return sandbox
