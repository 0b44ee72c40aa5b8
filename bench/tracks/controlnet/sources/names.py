"""Names of stages and files that the sources have in common."""

from __future__ import annotations

#: Pictures that the base samples, each with the condition that is read from it, and its file.
BANK, BANK_FILE = "controlnet-bank", "bank.npz"
#: Features of held-out pictures, and its file.
FEATURES, FEATURES_FILE = "controlnet-features", "features.npy"
