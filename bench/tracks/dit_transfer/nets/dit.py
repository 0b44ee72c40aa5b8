"""A class-conditional diffusion transformer (DiT): diffusers' network, made to be what DiT's authors trained.

`DiTTransformer2DModel` as it comes is another network than the original's in ways that its output does not
show at once:

- each block has time-step and label embedders of its own, the original one for all: here they are tied;
- each block draws its own label dropout, so that few labels are dropped in all: here it is off, and labels
  are dropped once, outside (`bench.nn.diffusion.drop_labels`);
- queries, keys and values are three layers, the original's are one: here they are fused, which is what the
  ranks and biases of the literature count;
- the sinusoids of the time step have 10000^(-i/127) for frequencies, the original's 10000^(-i/128): at step
  999 whole turns apart in some of them;
- the second norm of a block has an epsilon of 1e-5 (by default), the original's 1e-6;
- it starts from PyTorch's default weights, the original from blocks that are identities (adaLN-Zero).

Source: Peebles and Xie, Scalable Diffusion Models with Transformers (ICCV 2023).

Imports torch and diffusers (seconds): import it inside functions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

# Every path below is local. This keeps the hub's client from asking its servers whether a file has changed.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers.models.attention_processor import FusedAttnProcessor2_0
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import Tensor, nn

from bench.contract import BenchError
from bench.nn import weights

#: Name of the configuration in the metadata of a file that `DiT.save` wrote.
_CONFIG = "dit"
_SHARED = "transformer_blocks.0.norm1.emb"
#: The original's names, part by part, and ours.
_ORIGINAL = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": f"{_SHARED}.timestep_embedder.linear_1",
    "t_embedder.mlp.2": f"{_SHARED}.timestep_embedder.linear_2",
    "y_embedder.embedding_table": f"{_SHARED}.class_embedder.embedding_table",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_ORIGINAL_BLOCK = {
    "attn.qkv": "attn1.to_qkv",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
    "adaLN_modulation.1": "norm1.linear",
}
#: What diffusers' configuration must say, where it says anything, for the weights to be a DiT's.
_FIXED = {
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "norm_elementwise_affine": False,
    "dropout": 0.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """The shape of a DiT; the defaults are the laptop's, in pixel space.

    ``size``: pixels (of the picture or of its latent) a side. ``classes``: without the null label, which is
    row ``classes`` of the label table. ``width``: of a token. ``learned_sigma``: whether the network also
    gives what interpolates the variance of a reverse step (twice the channels).
    """

    size: int = 32
    channels: int = 3
    classes: int = 8
    patch: int = 4
    layers: int = 4
    width: int = 128
    heads: int = 4
    learned_sigma: bool = False

    def __post_init__(self) -> None:
        for name, divisor in (("size", self.patch), ("width", self.heads), ("width", 4)):
            if getattr(self, name) % divisor:
                raise BenchError(f"DiT: {name} is {getattr(self, name)}, expected a multiple of {divisor}")


#: DiT-XL/2 on latents of 256-pixel pictures.
DIT_XL_2 = DiTConfig(
    size=32, channels=4, classes=1000, patch=2, layers=28, width=1152, heads=16, learned_sigma=True
)


class DiT(nn.Module):
    """A DiT with first weights drawn as the original's (torch's global generator), a null label included."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        #: Whether what it trains was chosen (`bench.tracks.dit_transfer.nets.tuning`).
        self.tuned = False
        self.net: Any = DiTTransformer2DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.width // config.heads,
            in_channels=config.channels,
            out_channels=config.channels * (2 if config.learned_sigma else 1),
            num_layers=config.layers,
            sample_size=config.size,
            patch_size=config.patch,
            num_embeds_ada_norm=config.classes,
            norm_eps=1e-6,
        )
        _tie(self.net)
        _fuse(self.net)
        for block in self.net.transformer_blocks:
            block.ff.net[0].gelu = _gelu
        self.reset()

    @property
    def null(self) -> int:
        """The label of a picture without one: the number of classes, so the last row of the label table."""
        return self.config.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what it denoises."""
        return (self.config.channels, self.config.size, self.config.size)

    @property
    def blocks(self) -> list[Any]:
        """The transformer's blocks, diffusers' `BasicTransformerBlock`."""
        return list(self.net.transformer_blocks)

    @property
    def labels(self) -> nn.Embedding:
        """The label table, (classes + 1) rows."""
        table: nn.Embedding = self.net.get_submodule(f"{_SHARED}.class_embedder.embedding_table")
        return table

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Noised pictures (B, C, H, W), time steps (B,), labels (B,) int64 -> (B, C or 2C, H, W)."""
        out: Tensor = self.net(x, timestep=t, class_labels=y, return_dict=False)[0]
        return out

    def reset(self) -> None:
        """Draw all weights anew as the original does: every block an identity, the output zero."""
        for module in self.net.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.net.pos_embed.proj.weight.detach().flatten(1))
        nn.init.zeros_(self.net.pos_embed.proj.bias)
        embedder = self.net.get_submodule(_SHARED)
        for weight in (
            embedder.class_embedder.embedding_table.weight,
            embedder.timestep_embedder.linear_1.weight,
            embedder.timestep_embedder.linear_2.weight,
        ):
            nn.init.normal_(weight, std=0.02)
        for layer in (*(b.norm1.linear for b in self.blocks), self.net.proj_out_1, self.net.proj_out_2):
            nn.init.zeros_(layer.weight)

    def relabel(self, classes: int, start: Literal["null", "drawn", "source"] = "null") -> None:
        """Give it a label table of ``classes`` + 1 rows for a target's classes; the null label keeps its row.

        Args:
            classes: of the target.
            start: first rows of the classes: ``null``, all the null label's; ``drawn``, as of a new network;
                ``source``, class k has what class k of the source had (Diff-Tuning's released code).

        Raises:
            BenchError: ``source`` with more classes than the source has.
        """
        old = self.labels.weight.detach()
        if start == "source" and classes > self.null:
            raise BenchError(f"start='source': {classes} classes, but the source has {self.null}")
        rows = old[-1:].repeat(classes + 1, 1)
        if start == "drawn":
            nn.init.normal_(rows[:-1], std=0.02)
        elif start == "source":
            rows[:-1] = old[:classes]
        embedder = self.net.get_submodule(f"{_SHARED}.class_embedder")
        embedder.embedding_table = nn.Embedding(classes + 1, self.config.width, _weight=rows)
        embedder.num_classes = classes
        self.net.register_to_config(num_embeds_ada_norm=classes)
        self.config = replace(self.config, classes=classes)

    # ------------------------------------------------------------------------------------------------- files

    def weights(self) -> dict[str, nn.Parameter]:
        """All parameters by name, each tied one once (`state_dict` has them once a block)."""
        return dict(self.net.named_parameters())

    def save(self, path: Path, *, half: bool = False, about: Mapping[str, str] | None = None) -> None:
        """Write configuration and weights as safetensors; ``half``: matrices in half precision."""
        metadata = dict(about or {}) | {_CONFIG: json.dumps(asdict(self.config), sort_keys=True)}
        weights.write(path, self.weights(), half=half, about=metadata)


def load(path: Path, config: DiTConfig = DIT_XL_2) -> DiT:
    """A DiT with the weights at ``path``, in single precision on the CPU.

    Args:
        path: a file that `DiT.save` wrote, the original's ``.pt``, or a folder of diffusers (the
            transformer's, or the pipeline's above it).
        config: the shape, for the original's file alone: that one does not say it.

    Raises:
        BenchError: nothing there, not weights, or weights of another network.
    """
    if path.is_dir():
        return _load_diffusers(path)
    if path.suffix == ".safetensors" and path.is_file() and _CONFIG in (metadata := weights.about(path)):
        config = DiTConfig(**json.loads(metadata[_CONFIG]))
        return _filled(config, weights.read(path), path)
    return _load_original(path, config)


def _tie(net: Any) -> None:
    """One embedder for all blocks, without a dropout of its own, with the original's frequencies."""
    shared = net.get_submodule(_SHARED)
    shared.class_embedder.dropout_prob = 0.0
    shared.time_proj.downscale_freq_shift = 0
    for block in net.transformer_blocks:
        block.norm1.emb = shared


def _fuse(net: Any) -> None:
    """Queries, keys and values as one layer; the three that diffusers leaves behind are deleted."""
    for block in net.transformer_blocks:
        attention = block.attn1
        attention.fuse_projections()
        del attention.to_q, attention.to_k, attention.to_v
        attention.set_processor(FusedAttnProcessor2_0())  # type: ignore[no-untyped-call]


def _gelu(x: Tensor) -> Tensor:
    """GELU by its tanh, the original's; half precision on a CPU: exact, which torch does four times as fast.

    They are at most 5e-4 apart, less than what bfloat16 keeps of a value of 0.1.
    """
    exact = x.dtype is torch.bfloat16 and x.device.type == "cpu"
    return nn.functional.gelu(x, approximate="none" if exact else "tanh")


def _filled(
    config: DiTConfig, tensors: Mapping[str, Tensor], path: Path, spelt: Mapping[str, str] | None = None
) -> DiT:
    """A DiT whose parameters are ``tensors``, named as ours; nothing is drawn first.

    ``spelt``: our name -> the one in the file, for messages.
    """
    with torch.device("meta"):
        model = DiT(config)
    weights.check(path, tensors, model.weights(), spelt)
    for name, value in tensors.items():
        owner, _, leaf = name.rpartition(".")
        setattr(model.net.get_submodule(owner), leaf, nn.Parameter(value.float()))
    model.net.pos_embed.pos_embed = _positions(config)  # a buffer that is in no file
    return model


def _positions(config: DiTConfig) -> Tensor:
    """The fixed encoding of patch positions, (1, patches, width)."""
    side = config.size // config.patch
    encoding: Tensor = get_2d_sincos_pos_embed(config.width, side, base_size=side, output_type="pt")
    return encoding.float()[None]


def _load_original(path: Path, config: DiTConfig) -> DiT:
    found = weights.read(path)
    stored = found.pop("pos_embed", None)
    if stored is not None and (
        stored.shape != (ours := _positions(config)).shape
        or not torch.allclose(stored.float(), ours, atol=1e-4 if stored.dtype is torch.float32 else 5e-3)
    ):
        raise BenchError(
            f"{path}: pos_embed is not the sinusoids of {config.size // config.patch} x"
            f" {config.size // config.patch} patches of width {config.width}: weights of another network"
        )
    ours_of = {name: _from_original(name) for name in found}
    tensors = {ours_of[name]: value for name, value in found.items()}
    return _filled(config, tensors, path, {ours_of[name]: found.spelt.get(name, name) for name in found})


def _from_original(name: str) -> str:
    """Our name for the original's; a name that it does not have is left as it is."""
    part, _, leaf = name.rpartition(".")
    if block := re.fullmatch(r"blocks\.(\d+)\.(.+)", part):
        if block[2] in _ORIGINAL_BLOCK:
            return f"transformer_blocks.{block[1]}.{_ORIGINAL_BLOCK[block[2]]}.{leaf}"
        return name
    return f"{_ORIGINAL[part]}.{leaf}" if part in _ORIGINAL else name


def _load_diffusers(folder: Path) -> DiT:
    """See `load`.

    The folder's own epsilon and frequencies are not used: weights that were converted from the original were
    trained with the original's.
    """
    if not (folder / "config.json").is_file() and (folder / "transformer").is_dir():
        folder = folder / "transformer"
    config = _read_config(folder / "config.json")
    files = [folder / f"diffusion_pytorch_model.{suffix}" for suffix in ("safetensors", "bin")]
    path = next((f for f in files if f.is_file()), None)
    if path is None:
        raise BenchError(f"{folder}: expected {files[0].name} or {files[1].name} beside config.json")
    found = weights.read(path)
    return _filled(config, _from_diffusers(path, found), path, found.spelt)


def _read_config(path: Path) -> DiTConfig:
    try:
        stored = json.loads(path.read_text())
        channels = int(stored["in_channels"])
        config = DiTConfig(
            size=int(stored["sample_size"]),
            channels=channels,
            classes=int(stored["num_embeds_ada_norm"]),
            patch=int(stored["patch_size"]),
            layers=int(stored["num_layers"]),
            width=int(stored["num_attention_heads"]) * int(stored["attention_head_dim"]),
            heads=int(stored["num_attention_heads"]),
            learned_sigma=(stored.get("out_channels") or channels) == 2 * channels,
        )
    except OSError as e:
        raise BenchError(f"{path}: expected a folder of diffusers with a config.json ({e.strerror})") from e
    except (ValueError, KeyError, TypeError) as e:
        raise BenchError(f"{path}: expected the configuration of a DiTTransformer2DModel: {e!r}") from e
    for key, value in _FIXED.items():
        if stored.get(key, value) != value:
            raise BenchError(f"{path}: {key} is {stored[key]!r}, a DiT's is {value!r}")
    return config


def _from_diffusers(path: Path, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors: the blocks' copies of the embedders once, queries, keys and values as one."""
    ours: dict[str, Tensor] = {}
    for name, value in found.items():
        if copy := re.fullmatch(r"transformer_blocks\.(\d+)\.norm1\.emb\.(.+)", name):
            first = found.get(f"{_SHARED}.{copy[2]}")
            if first is None or not torch.equal(first, value):
                raise BenchError(
                    f"{path}: the embedder of block {copy[1]} is not that of block 0 ({copy[2]}):"
                    " expected the weights of a DiT, which has one for all blocks"
                )
            ours[f"{_SHARED}.{copy[2]}"] = first
        elif part := re.fullmatch(r"(.+)\.to_q\.(\w+)", name):
            three = [found.get(f"{part[1]}.to_{x}.{part[2]}") for x in "qkv"]
            if any(x is None for x in three):
                raise BenchError(f"{path}: {part[1]} has queries, but keys or values are missing")
            ours[f"{part[1]}.to_qkv.{part[2]}"] = torch.cat([x for x in three if x is not None])
        elif not re.search(r"\.to_[kv]\.|^pos_embed\.pos_embed$", name):
            ours[name] = value
    return ours
