"""The laptop's annotators of `controlnet` with known answers, and the stages that are made with them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from bench.contract import BenchError
from bench.data.earth import tiles
from bench.engine.context import RunStageContext
from bench.tracks.controlnet import scoring
from bench.tracks.controlnet.nets import annotators, unet
from bench.tracks.controlnet.settings import UNetConfig
from bench.tracks.controlnet.sources import aligned, laptop

#: What each level of the network below adds to a line's logit, and their bias.
OF_LEVEL, BIAS = (0.01, 0.02, 0.03, 0.04, 0.05), -1.0


@pytest.fixture
def hed(tmp_path):
    """HED with one channel a level, all of whose convolutions pass the blue channel on as it is."""
    h5py = pytest.importorskip("h5py")

    def write(name, kernel, bias):
        file[f"{name}/vars/0"], file[f"{name}/vars/1"] = np.float32(kernel), np.float32(bias)

    with h5py.File(tmp_path / "hed.h5", "w") as file:
        for level, layers in enumerate((2, 2, 3, 3, 3), 1):
            for layer in range(layers):
                kernel = np.zeros((3, 3, 3 if (level, layer) == (1, 0) else 1, 1))
                kernel[1, 1, 0] = 1
                write(f"block{level}/layers/conv2d{f'_{layer}' if layer else ''}", kernel, [0])
            write(f"dsn{level}", np.full((1, 1, 1, 1), OF_LEVEL[level - 1]), [0])
        write("fuse", np.ones((1, 1, 5, 1)), [BIAS])
    return annotators.Hed(tmp_path / "hed.h5")


def even(red, green, blue):
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (1, 16, 16, 3))


def test_hed_takes_blue_first_off_its_mean_and_fuses_all_of_its_levels(hed):
    above = 204 - annotators._MEAN[0]
    expected = 1 / (1 + np.exp(-(sum(OF_LEVEL) * above + BIAS)))
    assert hed.probabilities(even(9, 90, 204)) == pytest.approx(np.full((1, 16, 16, 1), expected), abs=1e-5)
    none = hed.probabilities(even(204, 204, 50))  # blue below the mean: nothing passes the first convolution
    assert none == pytest.approx(np.full((1, 16, 16, 1), 1 / (1 + np.e)), abs=1e-5)


def test_a_sketch_is_where_a_line_is_likelier_than_not(hed):
    pictures = np.array(even(0, 0, 204))
    pictures[:, :, :8] = 0
    sketch = hed(pictures)
    assert (sketch.shape, sketch.dtype) == ((1, 16, 16, 1), np.float32)
    assert np.array_equal(sketch, hed.probabilities(pictures) >= 0.5)
    assert (sketch[0, :, 0].max(), sketch[0, :, -1].min()) == (0, 1)


def test_a_file_that_holds_no_hed_is_named(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "hed.h5").write_bytes(b"")
    with pytest.raises(BenchError, match=r"hed.h5: not the weights of HED"):
        annotators.Hed(tmp_path / "hed.h5")


def test_canny_draws_the_border_of_what_differs_enough():
    pytest.importorskip("cv2")
    pictures = np.zeros((2, 32, 32, 3), np.uint8)
    pictures[0, 8:24, 8:24] = (0, 0, 200)  # in one of the colours
    pictures[1, 8:24, 8:24] = 10  # below the lower threshold
    lines = annotators.canny(pictures)
    assert (lines.shape, lines.dtype, set(np.unique(lines))) == ((2, 32, 32, 1), np.float32, {0.0, 1.0})
    assert lines[0, 14:18, :, 0].sum(1).tolist() == [2] * 4, "one pixel at either side"
    assert not lines[0, 10:22, 10:22].any()
    assert not lines[1].any()


# ------------------------------------------------------------------------------------------------ the stages


@pytest.fixture
def noise(monkeypatch):
    """Twelve tiles of noise in place of the Earth's, four of each part."""
    rng = np.random.default_rng(0)
    found = tiles.Tiles(
        rng.integers(0, 255, (12, 32, 32, 3), np.uint8), rng.integers(0, 3, (12, 32, 32)).astype(np.uint8),
        np.repeat(["train", "validation", "test"], 4), np.zeros((12, 2), np.int32),
    )  # fmt: skip
    monkeypatch.setattr(tiles, "read", lambda name, stage=None: found)
    return found


def built(build, folder, **params):
    build(RunStageContext(folder, params, 0, 0, "cpu", logging.getLogger("test"), {}))


def test_a_reader_that_cannot_read_its_condition_is_refused(noise, tmp_path):
    recipe = {"steps": 3, "batch": 4, "lr": 1e-3, "seed": 0}
    with pytest.raises(BenchError, match="'segmentation' cannot be read back"):
        built(aligned.train_reader, tmp_path, condition="segmentation", set="photo", recipe=recipe)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_classes_that_are_seen_is_kept_and_reads_them(noise, tmp_path):
    noise.picture[:] = np.array([[0, 0, 255], [255, 255, 0], [0, 255, 0]], np.uint8)[noise.surface]
    recipe = {"steps": 60, "batch": 4, "lr": 1e-2, "seed": 0}
    built(aligned.train_reader, tmp_path, condition="segmentation", set="photo", recipe=recipe)
    read = aligned.annotator("segmentation", lambda name: tmp_path, "cpu")(noise.picture)
    assert (read.argmax(-1) == noise.surface).mean() > 0.9


def test_features_are_of_the_part_that_is_looked_at(noise, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "lite0", lambda side, device: lambda pictures: pictures[:, 0, 0])
    for part in ("test", "validation"):
        built(laptop.encode, tmp_path, set="photo", part=part, pictures=0, side=128)
        found = np.load(tmp_path / "features.npy")
        assert np.array_equal(found, noise.picture[noise.part == part][:, 0, 0])


def test_a_bank_is_of_the_base_alone_with_what_is_read_from_its_own_pictures(tmp_path, monkeypatch):
    torch.manual_seed(0)
    unet.save(unet.unet(UNetConfig()), tmp_path / "base.safetensors", {})
    monkeypatch.setattr(laptop.pretrain, "weights", lambda name: tmp_path / "base.safetensors")
    bright = lambda pictures: pictures.mean(-1, keepdims=True) / 255  # noqa: E731
    monkeypatch.setattr(aligned, "annotator", lambda condition, stage, device: bright)
    built(laptop.draw_bank, tmp_path, condition="edge", set="photo", n=6, chain=2, task="edge")
    bank = laptop.bank(tmp_path)
    assert len(bank) == 6
    batch = bank.batch(np.arange(6), torch.Generator())
    assert batch.x.shape == (6, 3, 32, 32)
    read = bright(np.rint((batch.x.movedim(1, -1).numpy() + 1) * 127.5))
    assert batch.maps.movedim(1, -1).numpy() == pytest.approx(read, abs=1e-3)
    assert len({p.tobytes() for p in batch.x.numpy()}) == 6, "each from a noise of its own"
