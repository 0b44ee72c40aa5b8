"""FID: the Fréchet distance on the 2,048 features of the Inception network that published FIDs are made with.

The network is torch-fidelity's port of it (the extra ``paper``), its weights a file that the user provides;
nothing is downloaded. Pictures are resized inside the network, as its TensorFlow original does it.

Planning calls `missing`, so torch is imported inside functions.
"""

from __future__ import annotations

import importlib.util
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bench.contract import BenchError
from bench.file_digest import file_digest
from bench.nn.distances import gaussian_distance

#: Features of a picture.
FEATURES = 2048
#: How the sha-256 of the weights begins; their publishers put it into the file's name.
SHA256 = "6726825d"


def missing(weights: Path) -> str | None:
    """The package or the file that has to be provided, or None. Cheap."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return "FID: no package torch-fidelity: pip install 'gridbench[paper]'"
    if not weights.is_file():
        return (
            f"FID: no file {weights.name} in {weights.parent}: bring Inception's weights, a release of"
            f" mseitzer/pytorch-fid (pt_inception-2015-12-05-{SHA256}.pth) or of toshas/torch-fidelity"
        )
    return None


def original(weights: Path) -> bool:
    """Whether the file is the published one: by any other weights, distances are no FID. Reads the file."""
    return file_digest(weights).startswith(SHA256)


class Inception:
    """Inception with weights from a file, up to the features that FID is made of.

    Args:
        weights: the file.
        device: where it runs.
        batch: pictures at a time.

    Raises:
        BenchError: `missing`, or not the weights of this network.
    """

    def __init__(self, weights: Path, device: str = "cpu", batch: int = 64) -> None:
        if why := missing(weights):
            raise BenchError(why)
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        from bench.nn import weights as files

        # The package unpickles what it is given: it gets tensors that were read without executing a thing.
        tensors = BytesIO()
        torch.save(dict(files.read(weights)), tensors)
        tensors.seek(0)
        try:
            net: Any = FeatureExtractorInceptionV3("fid", [str(FEATURES)], tensors)
        except RuntimeError as e:
            why = " ".join(str(e).split())[:200]
            raise BenchError(f"{weights}: not the weights of FID's Inception: {why}") from e
        self._net, self._device, self._batch = net.to(device), device, batch

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(n, H, W, 3) uint8 -> (n, FEATURES) float32."""
        import torch

        out = np.empty((len(pictures), FEATURES), np.float32)
        with torch.no_grad():
            for i in range(0, len(pictures), self._batch):
                x = torch.from_numpy(pictures[i : i + self._batch]).permute(0, 3, 1, 2).to(self._device)
                out[i : i + self._batch] = self._net(x)[0].float().cpu().numpy()
        return out


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features, (m, D) and (n, D); 0 for equal sets.

    Biased upwards at few pictures: compare only at the same numbers. Double precision throughout.

    Source: Heusel et al. (NeurIPS 2017).
    """
    if min(len(real), len(fake)) < 2:
        raise ValueError(f"{len(real)} and {len(fake)} pictures: expected at least 2 in each set")
    x, y = real.astype(np.float64), fake.astype(np.float64)
    return gaussian_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
