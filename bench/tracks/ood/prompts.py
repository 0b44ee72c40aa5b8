"""Learnt context words in front of a class name (CoOp, CoCoOp), for either text tower."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bench.nn.clip import DualEncoder, with_context
from bench.tracks.ood.data import OodData

#: What a context begins as where the template begins with the name (``{} texture.``): it would have no words
#: to learn. The first words of CoOp's and CoCoOp's released code for every data set.
WORDS = "a photo of a"


class Context:
    """[v_1, ..., v_M, name, rest of the template]; ``vectors``: (M, W), from the words before the name."""

    def __init__(self, model: DualEncoder, data: OodData) -> None:
        self._model = model
        before, _, self._after = data.template.partition("{}")
        self.vectors = nn.Parameter(model.word_embeddings(before.strip() or WORDS).detach().clone())
        self._embedded: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}

    def features(self, names: Sequence[str], vectors: Tensor) -> Tensor:
        """Features (C, D) of length 1 of the names behind these vectors (M, W)."""
        key = tuple(names)
        if key not in self._embedded:
            texts = [f"{n}{self._after}".strip() for n in key]
            embeddings, mask = self._model.embed_tokens(texts)
            self._embedded[key] = embeddings.detach(), mask
        return self._model.text_features_from(*with_context(*self._embedded[key], vectors))
