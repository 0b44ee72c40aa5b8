"""The paper's tasks of `controlnet`: COCO and ADE20K as they lie, and steps on a tiny Stable Diffusion."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import controlnet_brought as brought
import numpy as np
import pytest
import torch
from controlnet_brought import RUN, TEST, TRAIN, task
from controlnet_reference import ROWS, context

from bench.contract import BenchError
from bench.engine.context import RunInputs, set_seed
from bench.nn import distances
from bench.tracks.controlnet import scoring, stages
from bench.tracks.controlnet.nets import paper_annotators, stable
from bench.tracks.controlnet.sources import paper, photographs
from bench.tracks.controlnet.track import TRACK

EDGE = task("coco-edge")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    root = tmp_path_factory.mktemp("brought") / "data"
    brought.bring(root)
    return root


@pytest.fixture
def root(bare, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(bare))
    monkeypatch.setattr(paper_annotators, "canny", brought.lines)
    monkeypatch.setattr(photographs, "COUNTS", brought.COUNTS)
    monkeypatch.setattr(
        distances, "Lite0", lambda size, device: lambda p: np.random.rand(len(p), 1280).astype(np.float32)
    )
    scoring.lite0.cache_clear()
    yield bare
    scoring.lite0.cache_clear()


def test_coco_has_all_captions_of_a_photograph_and_ade20k_the_default_prompt(root):
    train = photographs.read("coco", root / "coco", "train")
    assert [len(p) for p in train.prompts] == [1 + k % 3 for k in range(TRAIN)]
    assert train.files[2].name == "000000000014.jpg"
    assert sorted(train.prompts[2]) == ["thing 2 seen 0", "thing 2 seen 1", "thing 2 seen 2"]
    test = photographs.read("ade20k", root / "ADEChallengeData2016", "test")
    assert len(test) == TEST
    assert test.files[0].name == "ADE_val_00000001.jpg"
    assert set(test.prompts) == {(photographs.DEFAULT_PROMPT,)}
    assert photographs.cropped(test.files[:2], 64).shape == (2, 64, 64, 3)


def test_a_photograph_without_a_caption_and_captions_of_none_are_named(root, tmp_path):
    folder = tmp_path / "coco"
    shutil.copytree(root / "coco", folder)
    file = folder / "annotations" / "captions_val2017.json"
    whole = json.loads(file.read_text())
    without = [a for a in whole["annotations"] if a["image_id"] != 7]
    file.write_text(json.dumps({**whole, "annotations": without}))
    with pytest.raises(BenchError, match=r"captions_val2017.json: photograph 0{11}7.jpg has no caption"):
        photographs.read("coco", folder, "test")
    (folder / "train2017" / "000000000007.jpg").unlink()
    with pytest.raises(BenchError, match=r"photograph 000000000007.jpg is not in"):
        photographs.read("coco", folder, "train")
    file.write_text("{}")
    with pytest.raises(BenchError, match="no captions of COCO"):
        photographs.read("coco", folder, "test")


def test_what_is_not_brought_is_named_with_where_it_comes_from(root, tmp_path, monkeypatch):
    assert "ControlNetHED.pth" in TRACK.missing(task("coco-sketch"), RUN)
    assert "midas/config.json" in TRACK.missing(task("coco-normal"), RUN)
    assert "upernet/config.json" in TRACK.missing(task("ade20k-segmentation"), RUN)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert "cocodataset.org" in TRACK.missing(EDGE, RUN)
    shutil.copytree(root / "coco", tmp_path / "coco")
    assert "no unet/config.json" in TRACK.missing(EDGE, RUN)


@pytest.mark.parametrize("row", ["controlnet", "diff-tuning", "concat"])
def test_a_step_on_a_tiny_stable_diffusion(row, root, tmp_path):
    folders = brought.built((*paper.stages(EDGE, RUN), *stages.bank(EDGE, RUN)), tmp_path)
    inputs = RunInputs(None, "cpu", folders)
    data, truth = TRACK.load(EDGE, RUN, inputs), TRACK.truth(EDGE, RUN, inputs)
    assert (len(data.pictures), len(data.bank(folders[stages.BANK]))) == (TRAIN, 11)
    batch = data.pictures.batch(np.array([0, 12]), torch.Generator().manual_seed(0))
    assert batch.x.shape == (2, 4, 8, 8)
    assert batch.maps.shape == (2, 1, 64, 64)
    assert set(batch.maps.unique().tolist()) == {0, 1}
    assert batch.text.shape == (2, 12, 16)
    ctx = context(tmp_path, scorer=lambda answer, history: TRACK.score(EDGE, answer, truth, history))
    ctx.stages = folders
    set_seed(1)
    answer = ROWS[row].fn(data, ROWS[row].hp_of(row), ctx)
    score = TRACK.score(EDGE, answer, truth, ctx.history)
    assert np.isfinite(score.metrics["share"])
    assert [s.step for s in ctx.history] == [1]


def test_normals_are_upright_on_even_ground_and_lean_away_from_a_slope():
    even = np.full((1, 8, 8, 1), 200.0, np.float32)
    assert paper_annotators.normals(even)[0, 4, 4].tolist() == [127, 127, 255]
    # A rise of pi / 4 a pixel is a Sobel of 2 pi, as large as the viewing direction: 45 degrees.
    rising = np.broadcast_to(np.pi / 4 * np.arange(32.0, dtype=np.float32)[:, None], (1, 32, 32))[..., None]
    down, across = paper_annotators.normals(rising), paper_annotators.normals(rising.swapaxes(1, 2))
    lean = int(127.5 * (1 + 0.5**0.5))
    assert down[0, 16, 16].tolist() == [127, lean, lean]
    assert across[0, 16, 16].tolist() == [lean, 127, lean]
    assert down[0, 1, 16].tolist() == [127, 127, 255], "the far background looks at the viewer"


def test_depth_is_each_picture_from_0_to_255():
    near = np.stack([np.linspace(0, 9, 16), np.linspace(500, 3_000, 16)]).reshape(2, 4, 4, 1)
    found = paper_annotators.depths(near.astype(np.float32))
    assert (found.min((1, 2, 3)).tolist(), found.max((1, 2, 3)).tolist()) == ([0, 0], [255, 255])
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1


def test_classes_have_colours_of_their_own():
    colours = paper_annotators.colours(torch.arange(150).view(1, 15, 10)).movedim(1, -1).reshape(150, 3)
    assert len({tuple(c) for c in colours.tolist()}) == 150


def test_depth_and_segmentation_are_brought_to_the_size_of_the_picture():
    class Net(torch.nn.Module):
        config = SimpleNamespace(image_size=16)

        def forward(self, picture=None, pixel_values=None):
            grey = (picture if pixel_values is None else pixel_values).mean(1)
            return SimpleNamespace(predicted_depth=grey, logits=torch.stack([-grey, grey], 1))

    ramp = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8)[:, None], (1, 32, 32, 3))
    near = paper_annotators.batched(paper_annotators.Depth(Net()), "cpu")(ramp)
    assert near.shape == (1, 32, 32, 1)
    assert near.min() < -0.9, "in the network's own unit"
    assert near[0, 0, 28, 0] > near[0, 0, 3, 0]
    classes = paper_annotators.batched(paper_annotators.Segmentation(Net()), "cpu")(ramp)
    assert len(np.unique(classes.reshape(-1, 3), axis=0)) == 2


def test_a_folder_that_is_no_pipeline_and_weights_of_another_network_are_named(tmp_path):
    with pytest.raises(BenchError, match="unet: cannot be loaded"):
        stable.unet(tmp_path)
    with pytest.raises(BenchError, match="no settings of a scheduler"):
        stable.schedule(tmp_path)
    torch.save({"norm": torch.zeros(1, 3, 1, 1)}, tmp_path / "ControlNetHED.pth")
    with pytest.raises(BenchError, match=r"block1.convs.0.weight is missing"):
        paper_annotators.Hed(tmp_path / "ControlNetHED.pth")
