"""Decoding against Pillow, crops against torchvision, and files that are no images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from bench.contract import BenchError
from bench.data.images.pictures import Evaluation, Training, crop_box, decode, stream

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def files(tmp_path):
    """A wide, a high, a grey, a palette and a transparent image."""
    rng = np.random.default_rng(0)
    paths = []
    for i, (mode, shape) in enumerate(
        [("RGB", (90, 151)), ("RGB", (133, 64)), ("L", (70, 70)), ("P", (64, 80)), ("RGBA", (80, 99))]
    ):
        channels = {"RGB": (3,), "RGBA": (4,)}.get(mode, ())
        image = Image.fromarray(rng.integers(0, 256, (*shape, *channels), np.uint8))
        path = tmp_path / f"{i}.{'jpg' if i < 3 else 'png'}"
        image.convert(mode).save(path)
        paths.append(path)
    return paths


def by_pillow(path, size):
    image = Image.open(path).convert("RGB")
    w, h = image.size
    w, h = (size, size * h // w) if w < h else (size * w // h, size)
    image = image.resize((w, h), Image.Resampling.BILINEAR)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def test_evaluation_is_pillows_resize_and_the_middle(files):
    pixels = decode(files, Evaluation(48, MEAN, STD), threads=3)
    assert pixels.shape == (5, 48, 48, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.stack([by_pillow(p, 48) for p in files]))


def test_the_size_of_the_papers_and_normalisation(files):
    view = Evaluation(224, MEAN, STD)
    pixels = decode(files[:2], view)
    out = view(torch.from_numpy(pixels))
    assert out.shape == (2, 3, 224, 224)
    by_hand = (pixels[1, 5, 7] / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(out[1, :, 5, 7].numpy(), by_hand, rtol=1e-5)


def test_bicubic_is_another_view(files):
    bilinear, bicubic = (decode(files[:1], Evaluation(32, MEAN, STD, i)) for i in ("bilinear", "bicubic"))
    assert (bilinear != bicubic).any()


@pytest.mark.parametrize("shape", [(60, 80), (81, 50), (224, 224), (30, 300), (300, 30), (1, 1), (3, 5)])
def test_crops_follow_torchvisions_law_draw_for_draw(shape):
    theirs = v2.RandomResizedCrop(16, scale=(0.7, 1.0))
    image = torch.zeros(3, *shape)
    for seed in range(50):
        torch.manual_seed(seed)
        wanted = theirs.make_params([image])
        ours = crop_box(*shape, (0.7, 1.0), torch.Generator().manual_seed(seed))
        assert ours == (wanted["top"], wanted["left"], wanted["height"], wanted["width"])


def test_training_crops_are_of_the_seed_and_not_of_the_threads(files):
    view = Training(32, MEAN, STD)
    one = decode(files * 4, view, seed=3, threads=1)
    np.testing.assert_array_equal(one, decode(files * 4, view, seed=3, threads=4))
    assert (one != decode(files * 4, view, seed=4)).any()
    assert (one[:5] != one[5:10]).any()  # the same files, other crops
    before = torch.get_rng_state()
    decode(files, view)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_of_the_training_images_are_mirrored(tmp_path):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    view = Training(16, MEAN, STD)
    pixels = decode([tmp_path / "ramp.png"] * 300, view).astype(int)
    mirrored = (pixels[:, 0, 0, 0] > pixels[:, 0, -1, 0]).mean()
    assert 0.4 < mirrored < 0.6
    torch.manual_seed(0)
    batch = torch.from_numpy(np.ascontiguousarray(ramp)).expand(300, -1, -1, -1)
    out = view(batch)
    assert out.shape == (300, 3, 16, 16)
    assert 0.4 < (out[:, 0, 0, 0] > out[:, 0, 0, -1]).float().mean() < 0.6
    assert len({tuple(row.tolist()) for row in out[:, 0, 0]}) > 100  # every image has its own crop


def test_a_stream_gives_every_batch_in_order_and_can_go_on(files):
    view = Training(24, MEAN, STD)
    batches = [files[:3], files[3:], files[1:4], files[:1]]
    whole = list(stream(batches, view, seed=7, threads=2))
    assert [len(b) for b in whole] == [3, 2, 3, 1]
    rest = list(stream(batches[2:], view, seed=7, first=2, ahead=0))
    for a, b in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(a, b)
    first, second = stream([files, files], view, seed=7)
    assert (first != second).any()
    even = Evaluation(24, MEAN, STD)
    for paths, pixels in zip(batches, stream(batches, even), strict=True):
        np.testing.assert_array_equal(pixels, decode(paths, even))


def test_a_stream_works_ahead_only_so_far(files):
    asked = []

    def batches():
        for i in range(10):
            asked.append(i)
            yield files[:1]

    running = stream(batches(), Evaluation(8, MEAN, STD), ahead=2)
    next(running)
    assert asked == [0, 1, 2]
    running.close()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_broken_file_is_named(tmp_path, files, suffix):
    whole = next(p for p in files if p.suffix == f".{suffix}").read_bytes()
    view = Evaluation(16, MEAN, STD)
    cut = tmp_path / f"cut.{suffix}"
    for n in (len(whole) // 2, 20, 0):
        cut.write_bytes(whole[:n])
        with pytest.raises(BenchError, match=rf"cut\.{suffix}: not a readable image"):
            decode([*files, cut], view)
    with pytest.raises(BenchError, match=r"none\.jpg: no such image file"):
        decode([tmp_path / "none.jpg"], view)
    with pytest.raises(BenchError, match=rf"cut\.{suffix}: not a readable"):
        list(stream([files[:1], [cut]], view))


def test_a_huge_image_is_refused_and_a_text_too(tmp_path, monkeypatch, files):
    view = Evaluation(16, MEAN, STD)
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(BenchError, match=r"text\.jpg: not a readable image: cannot identify"):
        decode([text], view)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(BenchError, match=r"not a readable image: .*decompression bomb"):
        decode(files[:1], view)
