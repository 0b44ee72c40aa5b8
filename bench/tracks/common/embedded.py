"""Weights that are trained by a stage of a track and travel with the package."""

from __future__ import annotations

from pathlib import Path

from bench.contract import Embedded, Stage


def embedded_weights(stage: Stage, file: Path, earlier_address: str) -> Embedded:
    """The weights of a stage, with the address of the stage that their file says they were trained by.

    Args:
        stage: trains the weights, and writes its address into the file as ``recipe``.
        file: safetensors; it may be missing.
        earlier_address: the address that today's stage had when the file was written, at a time when an
            address still named the module of a stage's build function.
    """
    from safetensors import safe_open

    if not file.is_file():
        return Embedded(stage=stage, file=file)
    with safe_open(file, framework="numpy") as opened:
        written = (opened.metadata() or {}).get("recipe", "")
    return Embedded(stage=stage, file=file, recipe=stage.address if written == earlier_address else written)
