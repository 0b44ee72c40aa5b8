"""The paper's folders of `controlnet` as they lie on disk: a tiny random Stable Diffusion, COCO, ADE20K."""

from __future__ import annotations

import json
import logging
import string
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.contract import Task
from bench.engine.context import RunStageContext
from bench.tracks.controlnet.settings import PAPER, Run

#: Photographs of each part.
TRAIN, TEST = 13, 10
#: In place of the published numbers.
COUNTS = {name: {"train": TRAIN, "test": TEST} for name in ("coco", "ade20k")}
SIDE = 64
RUN = Run(
    steps=1, batch=2, chain=2, bank=11, samples=9, snapshots=(1,), size=SIDE, diffusion="sd", annotators="ann"
)


def task(name: str) -> Task:
    condition, pictures = PAPER[name]
    return Task(name=name, params={"condition": condition, "pictures": pictures}, data=pictures)


def bring(root: Path) -> None:
    """Everything below the folder of the data sets."""
    stable_diffusion(root / "sd")
    coco(root / "coco")
    ade20k(root / "ADEChallengeData2016")


def photograph(file: Path, k: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([k, len(file.name)]).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(noise).resize((96, 72), Image.Resampling.NEAREST).save(file, quality=95)


def coco(folder: Path) -> None:
    (folder / "annotations").mkdir(parents=True)
    for part, n in (("train2017", TRAIN), ("val2017", TEST)):
        images = [{"id": 7 * k, "file_name": f"{7 * k:012d}.jpg"} for k in range(n)]
        for image in images:
            photograph(folder / part / image["file_name"], image["id"])
        captions = [
            {"id": 10 * k + j, "image_id": 7 * k, "caption": f"thing {k} seen {j}"}
            for k in range(n)
            for j in range(1 + k % 3)
        ]
        whole = {"info": {}, "images": images[::-1], "annotations": captions[::-1]}
        (folder / "annotations" / f"captions_{part}.json").write_text(json.dumps(whole))


def ade20k(folder: Path) -> None:
    for part, short, n in (("training", "train", TRAIN), ("validation", "val", TEST)):
        for k in range(n):
            photograph(folder / "images" / part / f"ADE_{short}_{k + 1:08d}.jpg", k)


def stable_diffusion(folder: Path) -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_pndm import PNDMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=SIDE // 8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=2,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
    ).save_pretrained(folder / "unet")  # fmt: skip
    AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=2,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True
    ).save_pretrained(folder / "scheduler")
    vocabulary = tokenizer(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=12,
            bos_token_id=vocabulary["<|startoftext|>"], eos_token_id=vocabulary["<|endoftext|>"],
            pad_token_id=vocabulary["<|endoftext|>"],
        )
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def tokenizer(folder: Path) -> dict[str, int]:
    """CLIP's files, without a merge: each letter is a token."""
    letters = string.ascii_lowercase + string.digits + ",.-"
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: k for k, token in enumerate(tokens)}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 12, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **special}))
    return vocabulary


def lines(pictures: np.ndarray) -> np.ndarray:
    """An annotator without OpenCV: where a picture changes from left to right."""
    grey = pictures.mean(-1)
    return ((np.abs(np.diff(grey, axis=2, prepend=grey[..., :1])) > 20) * 255).astype(np.uint8)[..., None]


def built(stages, folder: Path) -> dict[str, Path]:
    """The folders of stages and of those that they read, once they are built."""
    found: dict[str, Path] = {}
    for stage in [one for asked in stages for one in (*asked.stages, asked)]:
        if stage.name in found:
            continue
        found[stage.name] = folder / stage.name
        for shard in range(stage.shards):
            out = found[stage.name] / str(shard) if stage.shards > 1 else found[stage.name]
            out.mkdir(parents=True)
            log = logging.getLogger("test")
            stage.build(RunStageContext(out, stage.params, shard, 0, "cpu", log, dict(found)))
    return found
