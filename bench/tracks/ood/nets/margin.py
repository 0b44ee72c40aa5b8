"""The margin metric softmax of CLIPood: a classification loss that knows how near the class names are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def margin_metric_softmax(f: Tensor, t: Tensor, y: Tensor, tau: float, lam: float) -> Tensor:
    """Mean over the batch of ``-log exp(f.t_y / tau) / sum_k exp((f.t_k + lam D(y, k)) / tau)``.

    ``D(y, k) = 1 - t_y.t_k``: a class whose name is far from the true one has to be left behind by a larger
    margin. ``lam`` = 0 is cross-entropy over the scaled cosines. For training only; inference has no margin.

    Args:
        f: image features (B, D), of length 1.
        t: text features of the classes (C, D), of length 1; they are constants in CLIPood.
        y: labels (B,), integers in [0, C).
        tau: temperature, 1 / CLIP's logit scale.
        lam: strength of the margin, the paper's lambda.

    Returns:
        the loss, a scalar.

    Source: Shu et al., CLIPood (ICML 2023); the released code subtracts ``lam t_y`` from ``f`` instead, which
    changes all logits of an example by the same constant.
    """
    distance = 1 - t[y] @ t.T
    return F.cross_entropy((f @ t.T + lam * distance) / tau, y)
