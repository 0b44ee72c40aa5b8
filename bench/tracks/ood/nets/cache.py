"""The key-value cache of Tip-Adapter: training features beside the class names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tracks.ood.data import OodData
from bench.tracks.ood.nets.clip import DualEncoder

#: Residual ratios and sharpnesses tried on validation: the 4,000 pairs of the released code's search.
ALPHAS = tuple(0.1 + i * (3 - 0.1) / 20 for i in range(20))
BETAS = tuple(0.1 + i * (7 - 0.1) / 200 for i in range(200))


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
        y, best = torch.from_numpy(self._data.val.y).to(val.device), -1
        by_name = self._model.logits(val, self._model.text_features(self._data.prompts(self._data.classes)))
        distance = 1 - val @ self.keys.T
        for beta in BETAS:
            shown = torch.exp(-beta * distance) @ self._values
            for alpha in ALPHAS:
                right = int(((by_name + alpha * shown).argmax(1) == y).sum())
                if right > best:
                    best, self.alpha, self.beta = right, alpha, beta
