"""Stable Diffusion out of a folder of diffusers: its U-Net, autoencoder, text encoder and schedule.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contract import BenchError
from bench.nn.diffusion import Schedule, from_pictures
from bench.tracks.controlnet.sources.paper_files import PARTS


def _opened(folder: Path, load: Any) -> Any:
    """What a library loads from a folder, without a network; `BenchError` where it cannot."""
    try:
        return load(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        why = str(e).partition("\n")[0]
        raise BenchError(f"{folder}: cannot be loaded ({type(e).__name__}: {why})") from e


def unet(folder: Path) -> Any:
    """The U-Net of a pipeline, a `UNet2DConditionModel`."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return _opened(folder / "unet", UNet2DConditionModel.from_pretrained)


def schedule(folder: Path) -> Schedule:
    """How the pipeline's U-Net was trained.

    Raises:
        BenchError: the scheduler's settings cannot be read.
    """
    file = folder / "scheduler" / PARTS["scheduler"]
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Schedule(
            steps=found["num_train_timesteps"], betas=found["beta_schedule"], first=found["beta_start"],
            last=found["beta_end"], prediction=found.get("prediction_type", "epsilon"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError) as e:
        raise BenchError(f"{file}: no settings of a scheduler of diffusers: {e!r}") from e


class Autoencoder:
    """The autoencoder of a pipeline: pictures to latents and back."""

    def __init__(self, folder: Path, device: str) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        self._net = _opened(folder / "vae", AutoencoderKL.from_pretrained).to(device).eval()
        self._device = device

    @torch.no_grad()
    def encode(self, pictures: np.ndarray) -> Tensor:
        """Means of the latents of pictures (n, H, W, 3) uint8, scaled: (n, C, h, w) on the CPU."""
        x: Tensor = self._net.encode(from_pictures(pictures).to(self._device)).latent_dist.mean
        scaled: Tensor = (x * self._net.config.scaling_factor).float().cpu()
        return scaled

    @torch.no_grad()
    def decode(self, x: Tensor) -> np.ndarray:
        """Pictures (n, H, W, 3) float32 from -1 to 1 of latents; one at a time, as a picture is large."""
        scaled = torch.split(x / self._net.config.scaling_factor, 1)
        found = [self._net.decode(one.to(self._device)).sample.float().cpu() for one in scaled]
        pictures: np.ndarray = torch.cat(found).clamp(-1, 1).movedim(1, -1).numpy()
        return pictures


class Texts:
    """The text encoder of a pipeline."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import CLIPTextModel, CLIPTokenizer

        self._tokenizer = _opened(folder / "tokenizer", CLIPTokenizer.from_pretrained)
        self._net = _opened(folder / "text_encoder", CLIPTextModel.from_pretrained).to(device).eval()
        self._device = device

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """(n, tokens, width) float32; what is longer than the encoder takes is cut."""
        length = self._net.config.max_position_embeddings
        tokens = self._tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        out: Tensor = self._net(tokens.input_ids.to(self._device))[0]
        return out.float()
