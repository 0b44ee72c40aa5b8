"""The paper's targets of `dit_transfer` at a tiny size: a data set in its layout, the networks' files."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from bench.data.catalog import CATALOG
from bench.data.images import image_sets
from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig
from bench.tracks.dit_transfer.settings import Run

TARGET = "artbench-10"
STYLES = ("art_nouveau", "baroque", "ukiyo_e")
#: Training and test pictures of a style.
COUNTS = {"train": (5, 3, 4), "test": (4, 3, 2)}
TINY = DiTConfig(size=8, channels=4, classes=6, patch=2, layers=2, width=32, heads=2, learned_sigma=True)
RUN = Run(
    steps=2, batch=5, samples=8, chain=2, bank=13, switches=(500,), weights="dit/tiny.safetensors",
    vae="dit/vae", inception="inception/tiny.pth",
)  # fmt: skip


def bring(root):
    """Write all that a target needs into ``root``, which ``$BENCH_DATA`` names."""
    from diffusers import AutoencoderKL

    random = np.random.default_rng(0)
    for part, counts in COUNTS.items():
        for style, n in zip(STYLES, counts, strict=True):
            folder = CATALOG[TARGET].folder / part / style
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 256, (4, 5, 3), np.uint8)
                Image.fromarray(pixels).resize((40, 32)).save(folder / f"{part}-{i}.png")
    image_sets.publisher_set(TARGET).prepare(partial=True)
    torch.manual_seed(0)
    (root / "dit").mkdir()
    model = DiT(TINY)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)  # a new network predicts nothing
    model.save(root / RUN.weights)
    vae = AutoencoderKL(
        block_out_channels=(4,) * 6, norm_num_groups=2, layers_per_block=1, sample_size=256,
        down_block_types=("DownEncoderBlock2D",) * 6, up_block_types=("UpDecoderBlock2D",) * 6,
    )  # fmt: skip
    vae.save_pretrained(root / RUN.vae)
    (root / "inception").mkdir()
    (root / RUN.inception).write_bytes(b"weights")
