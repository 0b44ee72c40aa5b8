"""The paper's eight targets at a tiny size: latents, the bank in shards, real pictures, and a whole cell."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.baselines.dit_transfer.full import full
from bench.methods.diff_tuning import diff_tuning
from dit_transfer_brought import RUN, TARGET, TINY, bring

import bench
from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images import image_sets
from bench.data.images.pictures import decode
from bench.engine.context import RunInputs, RunStageContext
from bench.nn.diffusion import Diffusion, Sampling, sample
from bench.store.records import Store
from bench.tracks.dit_transfer import scoring, stages
from bench.tracks.dit_transfer.nets import dit, inception
from bench.tracks.dit_transfer.nets.dit import DiT
from bench.tracks.dit_transfer.sources import paper
from bench.tracks.dit_transfer.sources.latents import AdmCrop, load_vae
from bench.tracks.dit_transfer.sources.latents import decode as decode_latents
from bench.tracks.dit_transfer.sources.names import BANK_FILE
from bench.tracks.dit_transfer.track import TRACK


class Means:
    """In place of Inception: 12 features, means of a picture's quarters."""

    def __init__(self, weights, device):
        pass

    def __call__(self, pictures):
        n, side = len(pictures), pictures.shape[1] // 2
        quarters = pictures.reshape(n, 2, side, 2, side, 3).mean((2, 4), dtype=np.float64)
        return (quarters.reshape(n, 12) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A folder of data sets with all that a target needs."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(root))
        bring(root)
    return root


@pytest.fixture(autouse=True)
def here(brought, monkeypatch):
    """The folder, and a network of FID that needs no package."""
    monkeypatch.setenv("BENCH_DATA", str(brought))
    monkeypatch.setattr(inception, "Inception", Means)
    monkeypatch.setattr(inception, "original", lambda weights: True)
    monkeypatch.setattr(inception.importlib.util, "find_spec", lambda name: name)
    scoring.inception_net.cache_clear()


def task(target=TARGET):
    return TRACK.tasks(TRACK.Grid(targets=(target,)))[0]


def built(stage, folder, reads=()):
    """The folder of a stage as a store gives it, built here on the processor."""
    for shard in range(stage.shards):
        out = folder / str(shard)
        out.mkdir(parents=True)
        log = logging.getLogger("bench.stage")
        stage.build(RunStageContext(out, stage.params, shard, 0, "cpu", log, dict(reads)))
    return folder / "0" if stage.shards == 1 else folder


@pytest.fixture(scope="module")
def encoded(brought, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(brought))
        (stage,) = paper.stages(task(), RUN)
        return built(stage, tmp_path_factory.mktemp("latents"))


@pytest.fixture(scope="module")
def bank_folder(brought, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(brought))
        (stage,) = paper.bank_stages(task(), RUN)
        return built(stage, tmp_path_factory.mktemp("bank"))


def parts(encoded, run=RUN):
    return paper.target_data(task(), run, RunInputs(None, "cpu", {paper.LATENTS: encoded}))


# ------------------------------------------------------------------------------------------ what is missing


def test_says_what_is_missing_and_where_it_comes_from(brought, monkeypatch):
    assert TRACK.missing(task(), RUN) is None
    cases = [
        (
            replace(RUN, weights="dit/XL.pt"),
            r"DiT-XL/2: no XL\.pt in .*dit \(\$BENCH_DATA/dit/XL\.pt\): .*fbai",
        ),
        (replace(RUN, vae="dit/none"), r"VAE: no config\.json in .*none .*: .*stabilityai/sd-vae-ft-ema"),
        (replace(RUN, inception="i.pth"), r"FID: no file i\.pth in .*: bring Inception's weights"),
    ]
    for run, said in cases:
        with pytest.raises(BenchError, match=said):
            raise BenchError(TRACK.missing(task(), run))
    assert "DiT-XL/2" in paper.missing(task(), replace(RUN, weights="a", vae="b", inception="c"))
    assert "VAE" in paper.missing(task(), replace(RUN, vae="b", inception="c"))
    assert "food101" in paper.missing(task("food101"), replace(RUN, weights="a"))


def test_a_plan_asks_without_torch(brought):
    code = (
        "import sys; from bench.contract import Task; from bench.tracks.dit_transfer.settings import Run;"
        "from bench.tracks.dit_transfer.sources import paper;"
        f"t = Task(name={TARGET!r}, params={{'target': {TARGET!r}}});"
        f"run = Run(weights={RUN.weights!r}, vae={RUN.vae!r}, inception={RUN.inception!r});"
        "paper.missing(t, run), paper.stages(t, run), paper.bank_stages(t, run);"
        "paper.fingerprint(t, run); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "BENCH_DATA": str(brought)})


def test_stages_stand_where_nothing_was_brought(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert [s.name for s in TRACK.stages(task(), RUN)] == ["dit-latents", "dit-features"]
    assert [s.name for s in stages.bank(task(), RUN)] == ["dit-bank"]


def test_another_network_is_other_data_and_another_bank(brought, tmp_path, monkeypatch):
    for name in ("prepared", CATALOG[TARGET].folder.name):
        (tmp_path / name).symlink_to(brought / name)
    for name in ("dit", "inception"):
        (tmp_path / name).mkdir()
        for file in (brought / name).iterdir():
            (tmp_path / name / file.name).symlink_to(file)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))

    def now():
        data, bank = paper.stages(task(), RUN), paper.bank_stages(task(), RUN)
        return paper.fingerprint(task(), RUN), data[0].address, bank[0].address

    before = now()
    assert now() == before
    (tmp_path / RUN.weights).unlink()
    (tmp_path / RUN.weights).write_bytes(b"other")
    after = now()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, False]
    (tmp_path / RUN.inception).unlink()
    (tmp_path / RUN.inception).write_bytes(b"other weights")
    assert now() != after


def test_one_bank_serves_all_targets():
    assert len({paper.bank_stages(task(t), RUN)[0].address for t in image_sets.PUBLISHER_LAYOUTS}) == 1
    assert len({paper.stages(task(t), RUN)[0].address for t in image_sets.PUBLISHER_LAYOUTS}) == 8


# ---------------------------------------------------------------------------------------------- what is given


def test_training_pictures_are_latents_of_the_training_part(encoded):
    found = parts(encoded)
    assert found.classes == ("art nouveau", "baroque", "ukiyo e")
    assert Counter(found.y.tolist()) == {0: 5, 1: 3, 2: 4}
    assert len(found.x) == 12
    x = found.x.batch(np.array([0, 11]), torch.Generator().manual_seed(0))
    assert x.shape == (2, 4, 8, 8)


def test_fewer_pictures_are_spread_over_the_classes(tmp_path):
    run = replace(RUN, pictures=4)
    (stage,) = paper.stages(task(), run)
    assert stage.address != paper.stages(task(), RUN)[0].address
    found = parts(built(stage, tmp_path / "latents"), run)
    assert found.y.tolist() == [0, 0, 1, 2]
    sets = paper.real_pictures(task(), run, lambda name: None)
    assert {k: sum(map(len, v)) for k, v in sets.items()} == {"test": 4, "train": 4, "inception": 4}


def test_the_network_starts_without_classes_of_its_own(encoded, brought):
    before = dit.load(brought / RUN.weights)
    model = parts(encoded).pretrained()
    assert model.config.classes == model.null == 3
    assert torch.equal(model.labels.weight, before.labels.weight[-1:].repeat(4, 1))
    rest = [(n, p) for n, p in model.weights().items() if "embedding_table" not in n]
    assert all(torch.equal(p, before.weights()[n]) for n, p in rest)


def test_the_originals_file_is_read_as_dit_xl_2(encoded, brought, monkeypatch):
    monkeypatch.setattr(dit, "DIT_XL_2", TINY)
    ours = dit.load(brought / RUN.weights).weights()
    theirs = {v: k for k, v in dit._ORIGINAL.items()}
    blocks = {v: k for k, v in dit._ORIGINAL_BLOCK.items()}

    def named(name):
        part, _, leaf = name.rpartition(".")
        if part in theirs:
            return f"{theirs[part]}.{leaf}"
        _, i, rest = part.split(".", 2)
        return f"blocks.{i}.{blocks[rest]}.{leaf}"

    torch.save({named(k): p.detach() for k, p in ours.items()}, brought / "dit" / "original.pt")
    model = parts(encoded, replace(RUN, weights="dit/original.pt")).pretrained()
    rest = [(n, p) for n, p in model.weights().items() if "embedding_table" not in n]
    assert len(rest) == len(ours) - 1
    assert all(torch.equal(p, ours[n]) for n, p in rest)


def test_a_network_of_other_latents_is_refused(encoded, brought):
    DiT(replace(TINY, size=4)).save(brought / "dit" / "other.safetensors")
    run = replace(RUN, weights="dit/other.safetensors")
    with pytest.raises(
        BenchError, match=r"other\.safetensors: a network of latents \(4, 4, 4\), .* \(4, 8, 8\)"
    ):
        parts(encoded, run).pretrained()


def test_what_is_drawn_is_decoded_by_the_vae(encoded, brought):
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pictures = parts(encoded).decode(z)
    assert pictures.shape == (2, 256, 256, 3)
    assert np.array_equal(pictures, decode_latents(load_vae(brought / RUN.vae), z))


# ------------------------------------------------------------------------------------------------- the bank


def test_each_shard_draws_its_own_part_of_the_bank(bank_folder, brought):
    found = paper.bank(bank_folder)
    assert len(found) == 13
    assert found.latents.dtype == np.float16
    sizes = [len(np.load(bank_folder / str(i) / BANK_FILE)) for i in range(paper.SHARDS)]
    assert sizes == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    assert len(np.unique(found.latents.reshape(13, -1), axis=0)) == 13
    rows = np.array([3, 12])
    x = found.batch(rows, torch.Generator())
    assert x.dtype == torch.float32
    assert np.array_equal(x.numpy(), found.latents[rows].astype(np.float32))


def test_a_bank_of_fewer_pictures_than_shards(tmp_path):
    (stage,) = paper.bank_stages(task(), replace(RUN, bank=4))
    assert len(paper.bank(built(stage, tmp_path / "bank"))) == 4


def test_the_bank_is_drawn_as_the_recipe_says(bank_folder, brought):
    from bench.tracks.dit_transfer.training import generator

    model, draw = dit.load(brought / RUN.weights).eval(), generator(0, 1)
    y = torch.randint(TINY.classes, (2,), generator=draw)
    how = Sampling(steps=2, guidance=1.5, clip=False, guided_channels=3)
    with torch.autocast("cpu", torch.bfloat16):
        expected = sample(model, Diffusion(), y, model.null, model.shape, draw, how)
    found = np.load(bank_folder / "1" / BANK_FILE)
    assert np.array_equal(found, expected.half().numpy())


# ------------------------------------------------------------------------------------------- real pictures


@pytest.fixture(scope="module")
def features(brought, encoded, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(brought))
        patch.setattr(inception, "Inception", Means)
        patch.setattr(inception, "original", lambda weights: True)
        patch.setattr(inception.importlib.util, "find_spec", lambda name: name)
        scoring.inception_net.cache_clear()
        stage = TRACK.stages(task(), RUN)[-1]
        return built(stage, tmp_path_factory.mktemp("features"), {paper.LATENTS: encoded})


def test_features_are_of_held_out_and_of_training_pictures(features):
    with np.load(features / stages.FEATURES_FILE) as found:
        assert {k: v.shape for k, v in found.items()} == {
            "test": (9, 1280), "train": (12, 1280), "inception": (9, 12),
        }  # fmt: skip
        pictures = decode(image_sets.publisher_set(TARGET).read().only("test").paths(), AdmCrop(256))
        assert np.array_equal(found["inception"], Means(None, "cpu")(pictures))
        assert np.allclose(found["test"], scoring.lite0(224, "cpu")(pictures), atol=1e-4)


def test_of_many_pictures_some_are_compared(monkeypatch):
    monkeypatch.setattr(paper, "COMPARED", 5)
    monkeypatch.setattr(paper, "_BATCH", 4)
    sets = {k: list(v) for k, v in paper.real_pictures(task(), RUN, lambda name: None).items()}
    assert {k: [len(b) for b in v] for k, v in sets.items()} == {
        "test": [4, 1], "train": [4, 1], "inception": [4, 4, 1],
    }  # fmt: skip
    every = {p.tobytes() for b in sets["inception"] for p in b}
    some = {p.tobytes() for b in sets["test"] for p in b}
    assert some < every
    again = paper.real_pictures(task(), RUN, lambda name: None)["test"]
    assert {p.tobytes() for b in again for p in b} == some


def test_other_weights_than_the_published_make_no_fid(brought, monkeypatch):
    monkeypatch.setattr(inception, "original", lambda weights: False)
    with pytest.raises(
        BenchError, match=r"tiny\.pth: not the published weights, whose sha-256 begins 6726825d"
    ):
        scoring.inception_net(brought / RUN.inception, "cpu")


# ------------------------------------------------------------------------------------------------ whole cells


@pytest.mark.parametrize("row", [full, diff_tuning], ids=lambda f: f.__name__)
def test_a_whole_cell(row, sandbox, encoded, features, bank_folder, monkeypatch):
    run = {
        k: getattr(RUN, k)
        for k in ("steps", "batch", "samples", "chain", "bank", "weights", "vae", "inception")
    }
    mine = {"ranks_by": "fid", "laptop": {"grid": {"targets": [TARGET]}, "run": {**run, "switches": [500]}}}
    sandbox.write({"profiles": {"laptop": {"seeds": 1}}, "tracks": {"dit_transfer": mine}})
    store = Store.open(sandbox.store_folder)
    declared = (*TRACK.stages(task(), RUN), *stages.bank(task(), RUN))
    for stage, folder in zip(declared, (encoded, features, bank_folder), strict=True):
        for shard in range(stage.shards):
            made = folder if stage.shards == 1 else folder / str(shard)
            copy = shutil.copytree(made, sandbox.folder / stage.name / str(shard))  # a store uses it up
            store.artifacts.put_stage(stage.address, shard, copy)
    drawn, draw = [], scoring.sampled
    monkeypatch.setattr(scoring, "sampled", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    tried = bench.try_method(row, "dit_transfer", suite=sandbox.suite, store=sandbox.store_folder)
    found = tried.score.metrics
    assert tried.task == TARGET
    (pictures,) = drawn
    assert pictures.shape == (8, 256, 256, 3)
    with np.load(features / stages.FEATURES_FILE) as kept:
        assert found["fid"] == inception.fid(kept["inception"], Means(None, "cpu")(pictures)) > 0
    assert all(np.isfinite(found[k]) for k in ("fid", "kid_lite0", "val_kid_lite0", "precision", "recall"))
    assert found["source_kid"] is None
