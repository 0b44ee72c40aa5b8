"""One case of a parametrised test that `make nightly` alone runs."""

from typing import Any

import pytest


def at_night(*values: Any, **how: Any) -> Any:
    """``pytest.param``, left out of CI; its marks are kept."""
    return pytest.param(*values, **{**how, "marks": [*how.get("marks", ()), pytest.mark.nightly]})
