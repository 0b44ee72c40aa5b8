"""FID: Inception's features from a file of weights, and the distance against closed forms."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from bench.contract import BenchError
from bench.tracks.dit_transfer.nets import inception
from bench.tracks.dit_transfer.nets.inception import FEATURES, Inception, fid, missing, original

fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="extra paper")


@pytest.fixture(scope="module")
def net():
    """The package's own network, with weights drawn at random."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity.torch, "load", lambda *a, **k: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        return fidelity.FeatureExtractorInceptionV3("fid", ["2048"], "none")


@pytest.fixture(scope="module")
def weights(net, tmp_path_factory):
    """As they are published: without the counters of batches that newer versions of torch add."""
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save({k: v for k, v in net.state_dict().items() if "num_batches" not in k}, path)
    return path


def pictures(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


@pytest.mark.slow
def test_features_are_the_packages_own(net, weights):
    x = pictures(5)
    found = Inception(weights, batch=2)(x)
    assert found.shape == (5, FEATURES)
    assert found.dtype == np.float32
    with torch.no_grad():
        (told,) = net(torch.from_numpy(x).permute(0, 3, 1, 2))
    assert np.allclose(found, told.numpy(), rtol=1e-4, atol=1e-6)
    assert found.std(0).max() > 0
    assert Inception(weights)(x[:0]).shape == (0, FEATURES)


def test_a_file_of_other_weights_is_refused(weights, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(BenchError, match=r"w\.pth: not the weights of FID's Inception: .*Missing key"):
        Inception(path)
    path.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BenchError, match=r"w\.pth: not a file of weights"):
        Inception(path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a file of weights was executed",))


def test_a_file_of_weights_is_never_executed(tmp_path):
    torch.save({"a": Trap()}, tmp_path / "w.pth")
    with pytest.raises(BenchError, match="not a file of weights"):
        Inception(tmp_path / "w.pth")


def test_says_which_package_or_file_is_missing(weights, tmp_path, monkeypatch):
    assert missing(weights) is None
    assert f"no file i.pth in {tmp_path}: bring Inception's weights" in missing(tmp_path / "i.pth")
    with pytest.raises(BenchError, match=r"no file i\.pth"):
        Inception(tmp_path / "i.pth")
    monkeypatch.setattr(inception.importlib.util, "find_spec", lambda name: None)
    assert missing(weights) == "FID: no package torch-fidelity: pip install 'gridbench[paper]'"


def test_only_the_published_file_is_the_original(weights, monkeypatch):
    assert not original(weights)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
    assert original(weights)


# ----------------------------------------------------------------------------------------------- the distance


def gaussian(n, d, seed):
    """n points whose mean is exactly 0 and whose covariance is exactly the identity."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    x -= x.mean(0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def test_a_set_is_at_no_distance_from_itself():
    x = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    assert fid(x, x) == pytest.approx(0, abs=1e-4)
    assert fid(x, x[::-1]) == pytest.approx(0, abs=1e-4)
    few = x[:20]  # fewer than features: covariances without full rank
    assert fid(few, few) == pytest.approx(0, abs=1e-4)


def test_shifted_gaussians_are_at_the_squared_length_of_the_shift():
    x = gaussian(400, 16, 0)
    shift = np.linspace(-1, 2, 16)
    assert fid(x, x + shift) == pytest.approx(shift @ shift, rel=1e-9)
    assert fid(x + shift, x) == pytest.approx(shift @ shift, rel=1e-9)


def test_stretched_gaussians_are_at_the_squared_difference_of_deviations():
    x, y = gaussian(400, 16, 0), gaussian(300, 16, 1)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((16, 16)))[0]
    a, b = np.linspace(1, 2, 16), np.linspace(3, 0.5, 16)
    assert fid(x * a @ turn, y * b @ turn) == pytest.approx(((a - b) ** 2).sum(), rel=1e-9)


def test_it_is_the_packages_fid():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    random = np.random.default_rng(0)
    x, y = random.standard_normal((500, 48)), random.standard_normal((400, 48)) * 1.3 + 0.2
    real, fake = (fid_features_to_statistics(torch.from_numpy(s)) for s in (x, y))
    told = fid_statistics_to_metric(real, fake, verbose=False)
    assert fid(x, y) == pytest.approx(next(iter(told.values())), rel=1e-8)


def test_one_picture_is_too_few():
    with pytest.raises(ValueError, match="1 and 5 pictures: expected at least 2"):
        fid(np.zeros((1, 4)), np.zeros((5, 4)))
