"""The key-value cache of Tip-Adapter: training features beside the class names."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tracks.ood.data import OodData
from bench.tracks.ood.nets.clip import DualEncoder

#: Residual ratios and sharpnesses tried on validation, as in the paper's search.
ALPHAS = (0.25, 0.5, 1.0, 2.0, 4.0)
BETAS = (1.0, 2.0, 5.5, 10.0)


class Cache:
    """Tip-Adapter's logits: f.t / tau + alpha exp(-beta (1 - f.k)) V.

    f: a picture's feature; t: those of the class names. The keys k (n, D) are the features of the training
    pictures, the values V (n, C) their labels, a 1 in the column of the class.

    ``keys``: a parameter. ``alpha``, ``beta``: 1 and 5.5 until `search` has chosen them.

    Source: Zhang et al., Tip-Adapter (ECCV 2022).
    """

    def __init__(self, model: DualEncoder, data: OodData, train: Tensor) -> None:
        self._model, self._data = model, data
        self.keys = nn.Parameter(train.clone(), requires_grad=False)
        labels = torch.from_numpy(data.train.y).to(train.device)
        self._values = F.one_hot(labels, len(data.classes)).float()
        self._place = {name: i for i, name in enumerate(data.classes)}
        self.alpha, self.beta = 1.0, 5.5

    def logits(self, f: Tensor, names: tuple[str, ...]) -> Tensor:
        """Logits (n, names) of features f (n, D) of length 1.

        A name that was not in training gets nothing from the cache.
        """
        t = self._model.text_features(self._data.prompts(names))
        out = self._model.logits(f, t)
        known = [i for i, name in enumerate(names) if name in self._place]
        if not known:
            return out
        shown = torch.exp(-self.beta * (1 - f @ self.keys.T)) @ self._values
        columns = shown[:, [self._place[names[i]] for i in known]]
        return out.index_add(1, torch.tensor(known, device=f.device), self.alpha * columns)

    @torch.no_grad()
    def search(self, val: Tensor) -> None:
        """Choose alpha and beta by the accuracy on validation; of equal pairs the first one is taken.

        Args:
            val: features (m, D) of the validation pictures, of length 1.
        """
        y, best = self._data.val.y, -1.0
        found = self.alpha, self.beta
        for self.alpha in ALPHAS:
            for self.beta in BETAS:
                chosen = self.logits(val, self._data.classes).argmax(1).cpu().numpy()
                if (right := float(np.mean(chosen == y))) > best:
                    best, found = right, (self.alpha, self.beta)
        self.alpha, self.beta = found
