"""The models of the paper's grid. Each is a row with a single embedding and a row with multi-embedding."""

from __future__ import annotations

from collections.abc import Mapping

#: Row variant -> what it sets: the module of ``nets/`` that holds the model.
MODELS: Mapping[str, Mapping[str, str]] = {
    name: {"model": name} for name in ("dnn", "ipnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")
}
