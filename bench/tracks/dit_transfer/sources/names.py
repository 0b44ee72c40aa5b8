"""Names of stages, files and sets of pictures that the sources have in common."""

from __future__ import annotations

#: The stage of pictures that the pre-trained network samples, and its file.
BANK, BANK_FILE = "dit-bank", "bank.npy"
#: The set of real pictures whose features are by Inception; those of all others are by EfficientNet-Lite0.
INCEPTION = "inception"
