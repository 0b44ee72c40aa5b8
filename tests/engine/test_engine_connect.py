"""What a cluster that cannot be joined gets: cause and mend, and nothing of Ray's own."""

import pytest

from bench.contract import BenchError

pytestmark = pytest.mark.slow  # imports Ray Tune


@pytest.fixture
def refused(monkeypatch):
    """`connect` to a cluster whose `ray.init` raises."""
    import ray

    from bench.engine import tune

    def connect(error):
        def init(**how):
            raise error

        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", init)
        return tune.connect("head:6379", None)

    return connect


def test_another_version_is_told(refused):
    words = "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\nThis..."
    with pytest.raises(
        BenchError, match=r"another Python or Ray than this process: .* Ray: 2\.59\.0 Python: 3\.12"
    ):
        refused(RuntimeError(words))
    with pytest.raises(RuntimeError, match="something else"):
        refused(RuntimeError("something else"))


def test_a_token_that_is_missing_or_wrong_is_told(refused):
    from ray.exceptions import AuthenticationError

    with pytest.raises(BenchError, match=r"does not take the token .* RAY_AUTH_TOKEN"):
        refused(AuthenticationError("no token"))


def test_an_address_where_nothing_is_is_told(refused):
    with pytest.raises(BenchError, match="no Ray cluster at 'head:6379'"):
        refused(ConnectionError("nobody"))
