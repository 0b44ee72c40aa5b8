"""What the paper's ablations add to the loss: numbers of a cross network's weights or a batch's embeddings.

Blocks are W_{i->j} (K, K) of a layer's matrix (N K, N K). Here a row vector is multiplied from the left,
x W, so that what lies at (i, j) is the block's transpose. No penalty can tell: each is a function of the
blocks' singular values.
"""

from __future__ import annotations

import torch
from torch import Tensor


def blocks(weight: Tensor, fields: int) -> Tensor:
    """Matrices (..., N K, N K) as blocks (..., N, N, K, K): entry (i, j) leads from field i to field j."""
    size = weight.shape[-1] // fields
    return weight.view(*weight.shape[:-2], fields, size, fields, size).transpose(-3, -2)


def non_orthogonality(weight: Tensor, scale: Tensor) -> Tensor:
    """sum_{l,i,j} || W_{i->j}^T W_{i->j} - lambda_ij I ||_F^2: how far blocks are from scaled rotations.

    Args:
        weight: (layers, N K, N K).
        scale: lambda, (layers, N, N).
    """
    w = blocks(weight, scale.shape[-1])
    identity = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    return (w.mT @ w - scale[..., None, None] * identity).square().sum()


def norm_variance(weight: Tensor, fields: int) -> Tensor:
    """mean_{l,i,j} var_m || W^(m)_{i->j} ||_F^2: how much sets differ in which pairs of fields they weigh.

    The variance is over the M sets themselves (divided by M). ``weight``: (layers, M, N K, N K).
    """
    norms = blocks(weight, fields).square().sum((-2, -1))
    return norms.var(1, correction=0).mean()


def similarity(e: Tensor, fields: int) -> Tensor:
    """How much of one set's space another spans: the mean of sigma_r(E_i^(m)T E_i^(n))^2.

    Over fields i, pairs of sets m < n and all K singular values; E_i^(m) (B, K) are field i's embeddings of
    the batch. sum_r sigma_r^2 is the squared Frobenius norm, so nothing is decomposed: the mean is that norm,
    squared, over K. ``e``: (M, B, N K), M from 2 on.
    """
    sets, batch, width = e.shape
    size = width // fields
    side_by_side = e.view(sets, batch, fields, size).permute(2, 1, 0, 3).flatten(2)  # (N, B, M K)
    gram = side_by_side.mT @ side_by_side
    norms = gram.view(fields, sets, size, sets, size).square().sum((2, 4))  # (N, M, M)
    m, n = torch.triu_indices(sets, sets, 1, device=e.device)
    return norms[:, m, n].mean() / size


def spread(e: Tensor, fields: int) -> Tensor:
    """mean_i var_r(sigma_r / mean_r sigma_r), sigma the singular values of field i's embeddings (B, K).

    0 if all directions are used alike. The variance is the unbiased one, over min(B, K) values.

    They are the roots of the eigenvalues of E^T E (K, K), in double precision: the batch is much longer than
    K. Directions that no row of the batch uses (a field of fewer values than K has some) count as zeros and
    have no gradient, where a root would have an infinite one. ``e``: (B, N K), min(B, K) from 2 on.
    """
    tables = e.double().view(len(e), fields, -1).transpose(0, 1)  # (N, B, K)
    squared = torch.linalg.eigvalsh(tables.mT @ tables)[:, -min(tables.shape[1:]) :]
    floor = 1e-12 * squared.detach()[:, -1:]
    used = squared > floor
    sigma = torch.where(used, torch.where(used, squared, 1).sqrt(), 0)
    return (sigma / sigma.mean(1, keepdim=True)).var(1).mean().to(e.dtype)
