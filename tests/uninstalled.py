"""Distributions that look as if they were not installed."""

from __future__ import annotations

from importlib import metadata


def uninstalled(monkeypatch, *names):
    """Let `importlib.metadata` find none of these distributions."""
    for function in ("version", "distribution"):
        monkeypatch.setattr(metadata, function, _without(names, getattr(metadata, function)))


def _without(names, real):
    def found(name):
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    return found
