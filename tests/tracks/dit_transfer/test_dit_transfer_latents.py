"""Latents that are encoded once: ADM's crop, moments on disk, what a batch draws, and refusals."""

from __future__ import annotations

import json
import mmap
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contract import BenchError
from bench.data.images.pictures import decode as decode_files
from bench.tracks.dit_transfer.sources import latents
from bench.tracks.dit_transfer.sources.latents import AdmCrop, Latents, adm_crop, encode, load_vae

SIZE = 16


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory):
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    net = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    net.save_pretrained(folder)
    return folder


@pytest.fixture
def vae(vae_folder):
    return load_vae(vae_folder)


def drawn(tmp_path, n, size=(24, 20)):
    random = np.random.default_rng(1)
    paths = []
    for i in range(n):
        pixels = random.integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    return paths


def written(tmp_path, vae, n=7, **changes):
    paths = drawn(tmp_path, n)
    folder = tmp_path / "latents"
    encode(
        paths, np.arange(n) % 3, vae, folder, size=SIZE, **{"batch": 3, "shard": 4, "threads": 1, **changes}
    )
    return paths, folder


# --------------------------------------------------------------------------------------------------- the crop


@pytest.mark.parametrize("size", [(64, 64), (300, 77), (77, 300), (1000, 513), (20, 31), (64, 65)])
def test_the_crop_is_a_square_of_pixels(size):
    pixels = adm_crop(Image.new("RGB", size, (10, 200, 30)), 64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == (10, 200, 30)).all()


def test_the_crop_of_a_picture_that_fits_is_its_middle():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 13, 3), np.uint8)
    assert np.array_equal(adm_crop(Image.fromarray(pixels), 8), pixels[:, 2:10])
    assert np.array_equal(
        adm_crop(Image.fromarray(pixels.transpose(1, 0, 2)), 8), pixels.transpose(1, 0, 2)[2:10]
    )


def test_a_picture_of_four_times_the_size_is_averaged_twice_by_two():
    pixels = np.random.default_rng(0).integers(0, 16, (32, 32, 3)).astype(np.uint8) * 16
    # Multiples of 16: nothing is rounded on the way.
    assert np.array_equal(adm_crop(Image.fromarray(pixels), 8), pixels.reshape(8, 4, 8, 4, 3).mean((1, 3)))


def test_below_twice_the_size_nothing_is_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (15, 15, 3), np.uint8)
    cubic = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(adm_crop(Image.fromarray(pixels), 8), np.asarray(cubic))


def test_the_view_cuts_files_and_batches_alike(tmp_path):
    paths = drawn(tmp_path, 3)
    view = AdmCrop(SIZE)
    cut = decode_files(paths, view)
    whole = torch.from_numpy(np.stack([np.asarray(Image.open(p)) for p in paths]))
    assert np.array_equal(cut[0], adm_crop(Image.open(paths[0]), SIZE))
    assert torch.allclose(view(whole), torch.from_numpy(cut).permute(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)


# -------------------------------------------------------------------------------------------- moments on disk


def moments_of(vae, pixels):
    """Mean and logarithm of the variance, straight from diffusers."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        found = vae.encode(x).latent_dist
    return found.mean, found.logvar


def test_kept_are_the_moments_of_each_picture_and_of_the_mirrored_picture(tmp_path, vae):
    paths, folder = written(tmp_path, vae)
    kept = Latents(folder)
    assert kept.shape == (4, 8, 8)
    assert len(kept) == 7
    assert kept.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    pixels = decode_files(paths, AdmCrop(SIZE))
    rows = np.array([6, 0, 3, 4, 4])
    for flipped, seen in ((False, pixels), (True, pixels[:, :, ::-1])):
        found = kept.moments(rows, np.full(5, flipped))
        for mine, told in zip(found, moments_of(vae, seen[rows]), strict=True):
            assert torch.allclose(mine, told, atol=2e-3, rtol=1e-3)  # half precision
    plain, mirrored = (kept.moments(rows, np.full(5, f))[0] for f in (False, True))
    assert (plain - mirrored).abs().max() > 0.01


def test_mirror_images_only_if_wanted(tmp_path, vae):
    _, folder = written(tmp_path, vae, flips=False)
    kept = Latents(folder)
    assert np.load(folder / "moments-00000.npy").shape == (4, 1, 2, 4, 8, 8)
    mean, _ = kept.moments(np.arange(7), np.zeros(7, bool))
    many = [kept.batch(np.arange(7), torch.Generator().manual_seed(s)) for s in range(100)]
    spread = torch.stack(many).std(0)
    assert torch.allclose(torch.stack(many).mean(0), mean * kept.scale, atol=float(spread.max()) * 0.5)


def test_shards_are_mapped_not_loaded(tmp_path, vae):
    _, folder = written(tmp_path, vae)
    assert [np.load(f).shape[0] for f in sorted(folder.glob("moments-*.npy"))] == [4, 3]
    assert all(isinstance(s.base, mmap.mmap) for s in Latents(folder)._shards)


def test_the_number_of_pictures_at_a_time_changes_nothing(tmp_path, vae):
    paths, folder = written(tmp_path, vae)
    encode(paths, np.arange(7) % 3, vae, tmp_path / "b", size=SIZE, batch=7, shard=7, threads=2)
    rows, side = np.arange(7), np.array([0, 1, 0, 1, 1, 0, 1], bool)
    for a, b in zip(
        Latents(folder).moments(rows, side), Latents(tmp_path / "b").moments(rows, side), strict=True
    ):
        assert torch.allclose(a, b, atol=2e-3)


def test_a_call_that_ended_early_goes_on(tmp_path, vae, monkeypatch):
    paths, folder = written(tmp_path, vae)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    first, second = sorted(folder.glob("moments-*.npy"))
    second.unlink()
    with pytest.raises(BenchError, match="1 of 2 shards of latents are missing: encode again"):
        Latents(folder)
    asked = []
    monkeypatch.setattr(latents, "stream", lambda b, v, **k: asked.extend(b) or decode_all(b, v))
    stamp = first.stat().st_mtime_ns
    told = []
    made = encode(
        paths,
        np.arange(7) % 3,
        vae,
        folder,
        size=SIZE,
        batch=3,
        shard=4,
        progress=lambda *a: told.append(a[1:]),
    )
    assert made == [first, second]
    assert asked == [paths[4:7]]
    assert first.stat().st_mtime_ns == stamp
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    assert told == [(4, 7), (7, 7)]


def decode_all(batches, view):
    return (decode_files(b, view) for b in batches)


def test_a_picture_that_cannot_be_read_leaves_no_half_a_shard(tmp_path, vae):
    paths = drawn(tmp_path, 7)
    paths[5].write_bytes(b"none")
    with pytest.raises(BenchError, match=r"5\.png: not a readable image"):
        encode(paths, np.zeros(7, int), vae, tmp_path / "l", size=SIZE, batch=2, shard=4)
    assert sorted(f.name for f in (tmp_path / "l").iterdir()) == [
        "index.json",
        "labels.npy",
        "moments-00000.npy",
    ]


def test_a_folder_of_other_latents_is_not_gone_on_with(tmp_path, vae, vae_folder):
    paths, folder = written(tmp_path, vae)
    same = {"size": SIZE, "batch": 3, "shard": 4}
    encode(paths, np.arange(7) % 3, load_vae(vae_folder), folder, **same)
    other = load_vae(vae_folder)
    next(other.parameters()).data[0] += 1
    for changed in (
        lambda: encode(paths[::-1], np.arange(7) % 3, vae, folder, **same),
        lambda: encode(paths, np.arange(7) % 2, vae, folder, **same),
        lambda: encode(paths, np.arange(7) % 3, vae, folder, **{**same, "size": 8}),
        lambda: encode(paths, np.arange(7) % 3, vae, folder, **same, flips=False),
        lambda: encode(paths, np.arange(7) % 3, other, folder, **same),
    ):
        with pytest.raises(BenchError, match="holds latents of other pictures or of another VAE: remove it"):
            changed()


def test_a_size_that_the_vae_cannot_halve_is_refused(tmp_path, vae):
    with pytest.raises(BenchError, match="size 15: expected a multiple of 2"):
        encode(drawn(tmp_path, 1), np.zeros(1, int), vae, tmp_path / "l", size=15)


def test_latents_that_are_no_numbers_are_refused(tmp_path, vae):
    next(vae.parameters()).data[0] = torch.nan
    paths = drawn(tmp_path, 2)
    with pytest.raises(BenchError, match=r"0\.png: the VAE gives latents that are no numbers"):
        encode(paths, np.zeros(2, int), vae, tmp_path / "l", size=SIZE)


# ---------------------------------------------------------------------------------------------------- a batch


def test_the_generator_fixes_the_draw_and_every_draw_is_another(tmp_path, vae):
    _, folder = written(tmp_path, vae)
    kept, rows = Latents(folder), np.array([2, 5, 2])
    torch.manual_seed(1)
    a = kept.batch(rows, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    generator = torch.Generator().manual_seed(7)
    b, c = kept.batch(rows, generator), kept.batch(rows, generator)
    assert a.shape == (3, 4, 8, 8)
    assert a.dtype == torch.float32
    assert torch.equal(a, b)
    assert not torch.equal(b, c)
    assert not torch.equal(b[0], b[2])


def test_a_batch_is_either_side_as_often_and_normal_around_its_mean_with_its_variance(tmp_path, vae):
    _, folder = written(tmp_path, vae)
    kept = Latents(folder)
    n, generator = 4000, torch.Generator().manual_seed(0)
    draws = kept.batch(np.full(n, 5), generator)
    (mean, mirrored), (logvar, _) = kept.moments(np.array([5, 5]), np.array([False, True]))
    scale = kept.scale
    assert scale == 0.18215
    sd = (0.5 * logvar).exp()
    # Whatever the side: the mean of both, each with half the draws; variances add up.
    middle = (mean + mirrored) / 2
    z = (draws.mean(0) / scale - middle) / (draws.std(0) / scale) * n**0.5
    assert z.abs().max() < 5
    assert z.std() == pytest.approx(1, abs=0.2)
    # Told apart by the element in which the sides differ most, each side has its own mean and variance.
    gap = ((mean - mirrored).abs() / sd).flatten()
    plain = ((draws / scale - mean) / sd).flatten(1)
    side = torch.stack(
        [((draws / scale - m) / sd).flatten(1).square().mean(1) for m in (mean, mirrored)]
    ).argmin(0)
    assert gap.max() > 0.3
    assert (side == 0).double().mean() == pytest.approx(0.5, abs=0.05)
    assert plain[side == 0].std() == pytest.approx(1, abs=0.02)


def test_latents_decode_to_pictures(tmp_path, vae):
    _, folder = written(tmp_path, vae)
    z = Latents(folder).batch(np.arange(7), torch.Generator().manual_seed(0))
    pixels = latents.decode(vae, z, 3)
    assert pixels.shape == (7, SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    with torch.no_grad():
        told = vae.decode(z / 0.18215).sample.permute(0, 2, 3, 1).numpy()
    assert np.abs(pixels - (told * 127.5 + 127.5).clip(0, 255)).max() <= 0.5 + 1e-3
    assert pixels.std() > 1


# --------------------------------------------------------------------------------------------------- refusals


def test_a_vae_is_frozen_and_a_pipelines_folder_will_do(tmp_path, vae_folder):
    shutil.copytree(vae_folder, tmp_path / "pipe" / "vae")
    vae = load_vae(tmp_path / "pipe")
    assert not vae.training
    assert not any(p.requires_grad for p in vae.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(vae.parameters(), load_vae(vae_folder).parameters(), strict=True)
    )


def spoilt_vae(tmp_path, vae_folder, change):
    folder = tmp_path / "vae"
    shutil.copytree(vae_folder, folder)
    change(folder)
    with pytest.raises(BenchError) as said:
        load_vae(folder)
    return str(said.value)


def configured(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


WEIGHTS = "diffusion_pytorch_model.safetensors"


def fewer(folder):
    import safetensors.torch

    found = safetensors.torch.load_file(folder / WEIGHTS)
    del found["quant_conv.bias"]
    safetensors.torch.save_file(found, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "expected a folder of diffusers with an AutoencoderKL"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "expected an AutoencoderKL, found 'list'"),
        (configured(_class_name="VQModel"), "expected an AutoencoderKL, found 'VQModel'"),
        (configured(shift_factor=0.1), "shift_factor is 0.1"),
        (configured(latent_channels=5), "not a readable AutoencoderKL"),
        (configured(down_block_types=["What", "Ever"]), "not a readable AutoencoderKL"),
        (lambda f: (f / WEIGHTS).unlink(), "not a readable AutoencoderKL"),
        (lambda f: (f / WEIGHTS).write_bytes(b"none"), "not a readable AutoencoderKL"),
        (fewer, "1 missing keys, first quant_conv.bias"),
    ],
)
def test_a_folder_that_is_no_vae_is_refused(tmp_path, vae_folder, change, said):
    assert said in spoilt_vae(tmp_path, vae_folder, change)


def cut_off(file):
    return lambda f: (f / file).write_bytes((f / file).read_bytes()[:-40])


def index(**changes):
    def change(folder):
        path = folder / "index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: shutil.rmtree(f), "expected a folder of latents"),
        (cut_off("index.json"), "not the index of a folder of latents"),
        (index(version=0), "latents of version 0, today's are 1: encode again"),
        (index(latent=[4, 8]), "not the index of a folder of latents"),
        (index(n=8), r"labels.npy: int64 (7,), expected int64 (8,)"),
        (
            index(flips=False),
            "moments-00000.npy: float16 (4, 2, 2, 4, 8, 8), expected float16 (4, 1, 2, 4, 8, 8)",
        ),
        (cut_off("moments-00001.npy"), "moments-00001.npy: cannot be read"),
        (lambda f: (f / "moments-00001.npy").write_bytes(b""), "moments-00001.npy: cannot be read"),
        (
            lambda f: np.save(f / "labels.npy", np.array([{}] * 7), allow_pickle=True),
            "labels.npy: cannot be read",
        ),
    ],
)
def test_a_folder_that_is_damaged_is_refused(tmp_path, vae, change, said):
    _, folder = written(tmp_path, vae)
    change(folder)
    with pytest.raises(BenchError) as error:
        Latents(folder)
    assert said in str(error.value)
