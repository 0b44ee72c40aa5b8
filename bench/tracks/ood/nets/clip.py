"""Dual encoders: pictures and texts in one space, scored by the cosine between them.

`lite` is made in this project from two small towers that ship in packages (CLIP-style, never called CLIP);
`vit_b16` is CLIP's own from a file that the user has. Both are open_clip models behind one class, so that
fine-tuning, adapters and prompt learning are written once. Nothing is ever downloaded.

Imports torch, open_clip and transformers (seconds): import it inside functions.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Every path below is local. This keeps the hub's client from asking its servers whether a file has changed.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import open_clip
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from open_clip.hf_model import HFTextEncoder
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from bench import packages
from bench.contract import BenchError
from bench.nn import weights as files
from bench.nn.lite0 import Preprocess, imagenet_weights

VIT_B16: Mapping[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
#: Entries of OpenAI's archives that are no weights.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
_UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, OSError, StopIteration, TypeError,
               AttributeError, ValueError, safetensors.SafetensorError)  # fmt: skip


class TextTower(nn.Module, ABC):
    """A text encoder that can be entered between its token embeddings and its blocks, to learn prompts."""

    #: Length of the longest text, markers counted.
    limit: int
    width: int

    @abstractmethod
    def embed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (C, L, W) of tokens (C, L), without positions, and a mask (C, L), True for text."""

    @abstractmethod
    def pool(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """One vector (C, W) for each text, by the blocks, of embeddings (C, L, W) and a mask (C, L)."""

    @abstractmethod
    def project(self, pooled: Tensor) -> Tensor:
        """The vectors (C, W) in the joint space: (C, D)."""

    @abstractmethod
    def projection(self) -> dict[str, Tensor]:
        """The parameters of `project`, by name."""


class SentenceTower(TextTower):
    """A bidirectional Hugging Face encoder through open_clip; a text's vector is the mean over its tokens."""

    def __init__(self, encoder: HFTextEncoder, limit: int) -> None:
        super().__init__()
        self.encoder, self.limit = encoder, limit
        self.width = int(encoder.config.hidden_size)

    def embed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `TextTower.embed`."""
        table = self.encoder.transformer.get_input_embeddings()
        return table(tokens), tokens != self.encoder.config.pad_token_id

    def pool(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """See `TextTower.pool`."""
        attended = mask.long()
        out = self.encoder.transformer(inputs_embeds=embeddings, attention_mask=attended)
        pooled: Tensor = self.encoder.pooler(out, attended)
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        """See `TextTower.project`."""
        projected: Tensor = self.encoder.proj(pooled)
        return projected

    def projection(self) -> dict[str, Tensor]:
        """See `TextTower.projection`."""
        return {"weight": self.encoder.proj.weight}


class CausalTower(TextTower):
    """CLIP's own text transformer, which is causal; a text's vector is read at the token that ends it."""

    def __init__(self, encoder: TextTransformer) -> None:
        super().__init__()
        self.encoder, self.limit = encoder, int(encoder.context_length)
        self.width = int(encoder.width)

    def embed(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `TextTower.embed`."""
        end = tokens.argmax(dim=1, keepdim=True)  # the end marker has the highest number
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self.encoder.token_embedding(tokens), positions <= end

    def pool(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """See `TextTower.pool`. What lies behind the end marker is never seen: attention is causal."""
        length = embeddings.shape[1]
        x = embeddings + self.encoder.positional_embedding[:length]
        x = self.encoder.transformer(x, attn_mask=self.encoder.attn_mask[:length, :length])
        last = x[torch.arange(len(x), device=x.device), mask.sum(dim=1) - 1]
        pooled: Tensor = self.encoder.ln_final(last)
        return pooled

    def project(self, pooled: Tensor) -> Tensor:
        """See `TextTower.project`."""
        projected: Tensor = pooled @ self.encoder.text_projection
        return projected

    def projection(self) -> dict[str, Tensor]:
        """See `TextTower.projection`."""
        return {"weight": self.encoder.text_projection}


class DualEncoder(nn.Module):
    """An image tower and a text tower with one joint space of D dimensions, in evaluation mode, all frozen.

    ``visual``: turns images (B, 3, H, W) into features (B, D) of any length; this is what fine-tuning trains.
    ``text``: see `TextTower`. ``logit_scale``: 1 / temperature, a fixed number. ``preprocess``: turns
    pictures into such images.
    """

    def __init__(
        self,
        visual: nn.Module,
        text: TextTower,
        tokenize: Callable[[Sequence[str]], Tensor],
        preprocess: Preprocess,
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.visual, self.text, self.preprocess = visual, text, preprocess
        self.logit_scale = logit_scale
        self._tokenize = tokenize
        self._features: dict[tuple[str, ...], Tensor] = {}
        self.eval()
        self.freeze()

    @property
    def device(self) -> torch.device:
        """The device that the image tower lies on."""
        return next(self.visual.parameters()).device

    def fresh(self) -> DualEncoder:
        """A copy with an image tower of its own; it shares the frozen text tower and its features."""
        return copy.deepcopy(self, {id(self.text): self.text, id(self._features): self._features})

    def freeze(self) -> None:
        """Let no parameter have a gradient."""
        self.requires_grad_(False)

    def unfreeze_visual(self) -> list[nn.Parameter]:
        """Let the image tower, its projection included, be trained, and give its parameters."""
        self.visual.requires_grad_(True)
        return list(self.visual.parameters())

    def image_features(self, images: Tensor) -> Tensor:
        """Features (B, D) of length 1 of preprocessed images (B, 3, H, W), float32 under any autocast."""
        return F.normalize(self.visual(images).float(), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Features (C, D) of length 1, without gradient, of C texts whose templates are filled in.

        They are computed once for a list of texts. The result is shared between callers: do not change it in
        place.
        """
        key = tuple(texts)
        if key not in self._features:
            with torch.no_grad():
                self._features[key] = self.text_features_from(*self.embed_tokens(key))
        return self._features[key].to(self.device)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scaled cosines (B, C) between image features (B, D) and text features (C, D)."""
        return self.logit_scale * images @ texts.T

    # ----------------------------------------------------------------------------------------------- prompts

    def embed_tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings (C, L, W) of C texts and a mask (C, L), True where there is text.

        L is the length of the longest text. Every text begins and ends with one marker.

        Raises:
            BenchError: a text is so long that the tower would cut it off.
        """
        tokens = self._tokenize(list(texts)).to(self.device)
        embeddings, mask = self.text.embed(tokens)
        lengths = mask.sum(dim=1)
        if int(lengths.max()) >= self.text.limit:
            long = texts[int(lengths.argmax())]
            raise BenchError(
                f"the text {long[:60]!r}… has {self.text.limit} tokens or more; expected fewer: shorten it"
            )
        longest = int(lengths.max())
        return embeddings[:, :longest], mask[:, :longest]

    def word_embeddings(self, text: str) -> Tensor:
        """Token embeddings (M, W) of a text without the markers around it, as first values of a context."""
        embeddings, mask = self.embed_tokens([text])
        return embeddings[0, 1 : int(mask.sum()) - 1]

    def text_features_from(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Features (C, D) of length 1 of token embeddings (C, L, W) and a mask (C, L).

        Both are as `embed_tokens` gives them. Gradients go through to the embeddings; see `with_context`.

        Raises:
            BenchError: the tower does not take as many tokens.
        """
        if embeddings.shape[1] > self.text.limit:
            raise BenchError(
                f"{embeddings.shape[1]} tokens with the context, but the text tower takes {self.text.limit}:"
                " use a shorter context"
            )
        return F.normalize(self.text.project(self.text.pool(embeddings, mask)).float(), dim=-1)

    # ------------------------------------------------------------------------------------------------- files

    def trained(self) -> dict[str, Tensor]:
        """What training in this project may have changed, by name: image tower, projections, scale."""
        tensors = {f"visual.{k}": v for k, v in self.visual.state_dict().items()}
        tensors |= {f"text.projection.{k}": v for k, v in self.text.projection().items()}
        return tensors | {"logit_scale": torch.tensor(self.logit_scale)}

    def save(self, path: Path, *, half: bool = False, about: Mapping[str, str] | None = None) -> None:
        """Write `trained` as safetensors; with ``half`` matrices and kernels in half precision.

        Vectors stay as they are: they are few, and running variances leave the range of half precision.
        """
        files.write(path, self.trained(), half=half, about=about)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote.

        Raises:
            BenchError: there is no such file, or it is not one of this model's.
        """
        tensors = files.read(path)
        mine = self.trained()
        files.check(path, tensors, mine)
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(tensors[name])
        self.logit_scale = float(tensors["logit_scale"])
        self._features.clear()


def with_context(embeddings: Tensor, mask: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Put context vectors behind the first marker of every text, in front of its words.

    Args:
        embeddings: (C, L, W), as `DualEncoder.embed_tokens` gives them.
        mask: (C, L).
        context: (M, W), the same for all texts, or (C, M, W).

    Returns:
        Embeddings (C, M + L, W) and a mask (C, M + L), for `DualEncoder.text_features_from`.
    """
    context = context.to(embeddings.dtype).expand(len(embeddings), *context.shape[-2:])
    ones = mask.new_ones(context.shape[:2])
    return (
        torch.cat([embeddings[:, :1], context, embeddings[:, 1:]], dim=1),
        torch.cat([mask[:, :1], ones, mask[:, 1:]], dim=1),
    )


# ---------------------------------------------------------------------------------------- the project's own


def lite(weights: Path | None = None, *, dim: int = 256) -> DualEncoder:
    """EfficientNet-Lite0 at 64 pixels and MiniLM, from packages, with linear projections to ``dim``.

    Args:
        weights: what `DualEncoder.save` wrote after contrastive training; None: ImageNet's weights in the
            image tower and projections drawn from a fixed seed, the start of that training.
        dim: dimensions of the joint space.

    Raises:
        BenchError: a package is missing or its file is not the expected one; or ``weights`` is not.
    """
    folder = str(packages.MINILM.path())
    config = {
        "embed_dim": dim,
        "vision_cfg": {"timm_model_name": "tf_efficientnet_lite0", "timm_model_pretrained": False,
                       "timm_pool": "avg", "timm_proj": "linear", "image_size": 64},
        "text_cfg": {"hf_model_name": folder, "hf_tokenizer_name": folder, "hf_model_pretrained": True,
                     "hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"},
    }  # fmt: skip
    with torch.random.fork_rng(devices=()), _quiet():
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(**config)
        limit = 64
        tokenize = open_clip.tokenizer.HFTokenizer(folder, context_length=limit)
    preprocess = Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    scale = float(model.logit_scale.detach().exp())
    encoder = DualEncoder(model.visual, SentenceTower(model.text, limit), tokenize, preprocess, scale)
    if weights is None:
        model.visual.trunk.load_state_dict(imagenet_weights())
    else:
        encoder.load(weights)
    return encoder


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar and the list of unused tensors (MiniLM's pooler) that loading prints."""
    logging: Any = transformers.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


# ------------------------------------------------------------------------------------------------ CLIP's own


def vit_b16(path: Path, *, quick_gelu: bool = True) -> DualEncoder:
    """CLIP ViT-B/16 from a local file: OpenAI's archive, or an open_clip state dict (.pt, .safetensors).

    Args:
        path: the file.
        quick_gelu: the activation that the weights were trained with; a file does not say. True for
            OpenAI's weights in any format, False for those trained by the OpenCLIP project.

    Raises:
        BenchError: no such file, not a file of weights, or weights of another network.
    """
    return from_file(path, VIT_B16, quick_gelu=quick_gelu)


def from_file(path: Path, config: Mapping[str, Any], *, quick_gelu: bool) -> DualEncoder:
    """A CLIP of two transformers, with all of its weights from a file.

    Args:
        path: the file; see `vit_b16`.
        config: the network's open_clip configuration.
        quick_gelu: see `vit_b16`.

    Raises:
        BenchError: see `vit_b16`.
    """
    read = _read(path)
    tensors = convert_to_custom_text_state_dict(dict(read))
    for name in _NO_WEIGHTS:
        tensors.pop(name, None)
    theirs = {name: name if name in read else name.removeprefix("text.") for name in tensors}
    with torch.device("meta"):  # drawing first values for all that is read anyway would take seconds
        model = open_clip.CustomTextCLIP(**copy.deepcopy(dict(config)), quick_gelu=quick_gelu)
    spelt = {name: read.spelt.get(there, there) for name, there in theirs.items()}
    files.check(path, tensors, model.state_dict(), spelt)
    model.load_state_dict(tensors, assign=True)
    model.text.attn_mask = model.text.build_causal_mask()  # the one tensor that no file has
    size = int(config["vision_cfg"]["image_size"])
    preprocess = Preprocess(size, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, "bicubic")
    text = CausalTower(model.text)
    tokenize = open_clip.SimpleTokenizer(context_length=text.limit)
    scale = math.exp(float(model.logit_scale.detach()))
    return DualEncoder(model.visual, text, tokenize, preprocess, scale)


def _read(path: Path) -> files.Weights:
    """The weights in a file, in single precision; nothing in it is executed but what TorchScript allows."""
    if not path.is_file():
        raise BenchError(
            f"{path}: no such file, expected CLIP's weights (OpenAI's .pt, or open_clip's .pt, .safetensors)"
        )
    if not _is_torchscript(path):
        found = files.read(path)
        return files.Weights({k: v.float() for k, v in found.items()}, found.spelt)
    try:
        model = open_clip.load_openai_model(str(path), precision="fp32", device="cpu")
    except _UNREADABLE as e:
        why = str(e).partition("\n")[0]
        raise BenchError(f"{path}: not a file of CLIP's weights ({type(e).__name__}: {why})") from e
    archive = files.Weights(model.state_dict())
    files.check_finite(path, archive)
    return archive


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
