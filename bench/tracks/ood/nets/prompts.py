"""Learnt context words in front of a class name (CoOp, CoCoOp), for either text tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.tracks.ood.data import OodData
from bench.tracks.ood.nets.clip import DualEncoder, with_context

#: What a context begins as where the template begins with the name (``{} texture.``): it would have no words
#: to learn. The first words of CoOp's and CoCoOp's released code for every data set.
WORDS = "a photo of a"


@dataclass(frozen=True, slots=True)
class _Group:
    """Class names of one length L: their positions (n,), token embeddings (n, L, W) and mask (n, L)."""

    places: Tensor
    embeddings: Tensor
    mask: Tensor


class Context:
    """Prompts whose first words are learnt: [v_1, ..., v_M, name, rest of the template].

    ``vectors``: the parameter v (M, W); it starts from the words that stand before the name in the template.
    """

    def __init__(self, model: DualEncoder, data: OodData) -> None:
        self._model = model
        before, _, self._after = data.template.partition("{}")
        self.vectors = nn.Parameter(model.word_embeddings(before.strip() or WORDS).detach().clone())
        self._groups: dict[tuple[str, ...], list[_Group]] = {}

    def features(self, names: Sequence[str], vectors: Tensor) -> Tensor:
        """Features of length 1 of the names behind context vectors.

        Args:
            names: C class names.
            vectors: (M, W), one context for all pictures, or (B, M, W), one for each picture.

        Returns:
            (C, D), or (B, C, D).
        """
        one = vectors.ndim == 2
        contexts = vectors.unsqueeze(0) if one else vectors
        groups, B = self._grouped(tuple(names)), len(contexts)
        parts = []
        for g in groups:
            n = len(g.places)
            texts = with_context(
                g.embeddings.repeat(B, 1, 1), g.mask.repeat(B, 1), contexts.repeat_interleave(n, dim=0)
            )
            parts.append(self._model.text_features_from(*texts).view(B, n, -1))
        back = torch.cat([g.places for g in groups]).argsort()
        found = torch.cat(parts, dim=1)[:, back]
        return found[0] if one else found

    def _grouped(self, names: tuple[str, ...]) -> list[_Group]:
        """The names in groups of equal length.

        So nothing is padded, which saves a fifth of the time.
        """
        if names not in self._groups:
            embeddings, mask = self._model.embed_tokens([f"{n}{self._after}".strip() for n in names])
            lengths = mask.sum(dim=1)
            self._groups[names] = [
                _Group(places, embeddings[places, :length].detach(), mask[places, :length])
                for length in sorted(set(lengths.tolist()))
                for places in [(lengths == length).nonzero()[:, 0]]
            ]
        return self._groups[names]
