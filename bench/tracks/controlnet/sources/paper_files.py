"""Which files the folders of the paper's networks have to hold; a plan asks, without loading a network."""

from __future__ import annotations

from collections.abc import Mapping

#: Folder of Stable Diffusion as diffusers has it -> its file of settings.
PARTS: Mapping[str, str] = {
    "unet": "config.json", "vae": "config.json", "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json",
}  # fmt: skip
#: Condition -> what has to lie in the folder of annotators.
ANNOTATORS: Mapping[str, str] = {
    "sketch": "ControlNetHED.pth", "depth": "midas/config.json", "normal": "midas/config.json",
    "segmentation": "upernet/config.json",
}  # fmt: skip
