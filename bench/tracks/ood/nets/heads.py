"""A linear head on an image tower, for rows that do not use the class names."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import Context
from bench.tracks.ood.data import OodData
from bench.tracks.ood.nets.clip import DualEncoder
from bench.tracks.ood.stages import read_features
from bench.tracks.ood.training import by_features

#: Inverse strengths of the probe's L2 penalty that are tried on validation.
STRENGTHS = tuple(10.0**e for e in range(-1, 6))


class Linear:
    """Logits W f + b over the training's classes, f a feature (D,) of length 1; W and b start at 0."""

    def __init__(self, model: DualEncoder, data: OodData) -> None:
        self._model, self._data = model, data
        width = model.text_features(data.prompts(data.classes)).shape[1]
        self.layer = nn.Linear(width, len(data.classes)).to(model.device)
        for p in self.weights:
            nn.init.zeros_(p)
        self.predict = by_features(model, self._named)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters W (C, D) and b (C,)."""
        return list(self.layer.parameters())

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy, a scalar, of preprocessed images x (B, 3, S, S) with labels y (B,)."""
        return F.cross_entropy(self.layer(self._model.image_features(x)), y)

    def probe(self, ctx: Context) -> None:
        """Set W and b by logistic regression on the frozen features.

        Its penalty is the best one on validation; of penalties with equal accuracies the stronger one is
        taken.
        """
        from sklearn.linear_model import LogisticRegression

        x, val = (f.cpu().numpy() for f in read_features(ctx, self._data, "cpu"))
        y, val_y = self._data.train.y, self._data.val.y
        fits = [LogisticRegression(C=c, max_iter=1_000).fit(x, y) for c in STRENGTHS]
        best = fits[int(np.argmax([f.score(val, val_y) for f in fits]))]
        with torch.no_grad():
            self.layer.bias.fill_(-1e4)  # a class without a training picture is never chosen
            self.layer.weight[best.classes_] = torch.from_numpy(best.coef_).to(self.layer.weight)
            self.layer.bias[best.classes_] = torch.from_numpy(best.intercept_).to(self.layer.bias)

    def _named(self, f: Tensor, names: tuple[str, ...]) -> Tensor:
        """Logits (n, names) of features f (n, D), for names of classes of the training."""
        columns = [self._data.classes.index(n) for n in names]
        logits: Tensor = self.layer(f)[:, columns]
        return logits
