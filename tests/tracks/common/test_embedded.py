"""Weights that travel with the package: what their file says of the stage that made them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.contract import Stage
from bench.tracks.common.embedded import embedded_weights


def build(ctx):
    """Train nothing."""


STAGE = Stage(name="net", build=build, params={"steps": 3})
EARLIER = STAGE.address_by("somewhere.else:build")


@pytest.mark.parametrize(
    ("written", "recipe"),
    [(EARLIER, STAGE.address), (STAGE.address, STAGE.address), ("0123", "0123"), (None, "")],
)
def test_the_recipe_is_what_the_file_says(written, recipe, tmp_path):
    file = tmp_path / "net.safetensors"
    save_file({"w": np.zeros(2)}, file, metadata=None if written is None else {"recipe": written})
    found = embedded_weights(STAGE, file, EARLIER)
    assert (found.stage, found.file, found.recipe) == (STAGE, file, recipe)


def test_a_missing_file_says_nothing(tmp_path):
    assert embedded_weights(STAGE, tmp_path / "none", EARLIER).recipe == ""
