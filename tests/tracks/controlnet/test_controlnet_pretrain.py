"""The training of the laptop's base networks of `controlnet`: it goes on after a kill; its identity."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from controlnet_reference import SMALL

from bench.engine.context import RunStageContext
from bench.tracks.controlnet import pretrain
from bench.tracks.controlnet.pretrain import Recipe, trained
from bench.tracks.controlnet.settings import UNetConfig

PICTURES = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8)
SHORT = Recipe(steps=5, batch=4, warmup=2)


def context(folder):
    folder.mkdir(exist_ok=True)
    return RunStageContext(folder, {}, 0, 0, "cpu", logging.getLogger("test"))


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "CHECKPOINT", 2)
    whole = trained(SHORT, PICTURES, SMALL, context(tmp_path / "whole")).state_dict()
    kept = pretrain._keep

    def killed(done, *rest):
        kept(done, *rest)
        if done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(SHORT, PICTURES, SMALL, context(tmp_path / "killed"))
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "_rate", lambda k, recipe: steps.append(k) or 1.0)
        again = trained(SHORT, PICTURES, SMALL, context(tmp_path / "killed")).state_dict()
    assert steps == [0, 5]
    assert all(torch.equal(v, again[k]) for k, v in whole.items())
    assert list((tmp_path / "killed").iterdir()) == []


def test_another_network_noise_or_recipe_is_another_stage(monkeypatch):
    address = pretrain.stage("photo").address
    assert address != pretrain.stage("relief").address
    for name, other in (
        ("UNetConfig", lambda: replace(UNetConfig(), heads=4)),
        ("NOISE", {**pretrain.NOISE, "prediction": "epsilon"}),
        ("Recipe", lambda: replace(Recipe(), warmup=100)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(pretrain, name, other)
            assert pretrain.stage("photo").address != address
