"""The paper's tasks have one fingerprint and one stage address wherever, and whenever, the same files lie."""

from __future__ import annotations

import os
import shutil

import dit_transfer_brought
import image_reference
import pytest

from bench.contract import Task
from bench.data.images import image_sets
from bench.registry import Registry
from bench.tracks.dit_transfer.nets import inception
from bench.tracks.dit_transfer.sources import paper
from bench.tracks.ood import stages
from bench.tracks.ood.sources import photos as photo_tasks

TRACKS = {name: Registry().track(name) for name in ("dit_transfer", "multi_domain", "ood")}
TARGET = dit_transfer_brought.TARGET
TASKS = {
    "dit_transfer": Task(name=TARGET, params={"target": TARGET}),
    "multi_domain": TRACKS["multi_domain"].tasks(TRACKS["multi_domain"].Grid(datasets=("office-home",)))[0],
    "ood": photo_tasks.tasks("shift", "office-home")[0],
}


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    root = tmp_path_factory.mktemp("brought") / "data"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(root))
        dit_transfer_brought.bring(root)
        image_reference.folders("office-home")
        image_sets.image_set("office-home").prepare(partial=True)
        for name in ("clip/ViT-B-16.pt", "timm/resnet50.safetensors"):
            (root / name).parent.mkdir()
            (root / name).write_bytes(b"weights")
    return root


def identity(track: str, root, monkeypatch):
    """Fingerprint and addresses of all stages of a task, with the data sets in ``root``."""
    monkeypatch.setenv("BENCH_DATA", str(root))
    monkeypatch.setattr(inception.importlib.util, "find_spec", lambda name: name)
    own, task = TRACKS[track], TASKS[track]
    run = dit_transfer_brought.RUN if track == "dit_transfer" else own.Run()
    assert own.missing(task, run) is None
    found = list(own.stages(task, run))
    if track == "dit_transfer":
        found += paper.bank_stages(TASKS["dit_transfer"], run)
    if track == "ood":
        found += stages.frozen_features(task, run)
    return own.fingerprint(task, run), [s.address for s in found]


@pytest.mark.parametrize("track", TASKS)
def test_the_same_bytes_elsewhere_or_of_another_time_are_the_same_data(brought, tmp_path, monkeypatch, track):
    before = identity(track, brought, monkeypatch)
    copy = tmp_path / "elsewhere"
    shutil.copytree(brought, copy)
    for k, path in enumerate(sorted(p for p in copy.rglob("*") if p.is_file())):
        os.utime(path, (1_000_000_000 + k, 1_000_000_000 + k))
    assert identity(track, copy, monkeypatch) == before
    assert len(before[1]) == {"dit_transfer": 3, "multi_domain": 0, "ood": 1}[track]


NETWORKS = {
    "dit_transfer": ("dit/tiny.safetensors", "dit/vae/config.json", "inception/tiny.pth"),
    "multi_domain": ("timm/resnet50.safetensors",),
    "ood": ("clip/ViT-B-16.pt",),
}


@pytest.mark.parametrize(("track", "file"), [(t, f) for t, files in NETWORKS.items() for f in files])
def test_other_bytes_of_the_same_size_are_other_data(brought, tmp_path, monkeypatch, track, file):
    before = identity(track, brought, monkeypatch)
    copy = tmp_path / "elsewhere"
    shutil.copytree(brought, copy)
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert identity(track, copy, monkeypatch)[0] != before[0]
