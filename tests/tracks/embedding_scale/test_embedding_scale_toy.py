"""The paper's toy: an embedding that interacts with a field of few values loses directions.

It is a diagnostic of the track's measure, and of the mechanism that the paper is about, apart from any click
log (arXiv 2310.04400v1; our reading of it is in `abundance`). In the paper it is a figure without numbers.
"""

from __future__ import annotations

import pytest
import torch

from bench.tracks.embedding_scale.scoring import singular_values

VALUES, SIZE, STEPS = 100, 10, 5_000


def abundance(third: int, seed: int) -> float:
    """Information abundance of E_1 after training, where the third field has so many values.

    Three fields in a factorisation machine, y = sigmoid(<e1, e2> + <e1, e3> + <e2, e3>). Every pair of the
    first two fields' 100 values is one row; the third field's value and the label are drawn uniformly. All
    embeddings start from N(0, 1); E_1 alone is trained, by gradient descent over all rows at rate 1. The
    paper does not say the embedding size; here it is 10.
    """
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn(n, SIZE, generator=generator) for n in (VALUES, VALUES, third)]
    e1, e2 = tables[:2]
    e3 = tables[2][torch.randint(third, (VALUES, VALUES), generator=generator)]  # (x1, x2, K)
    label = torch.randint(2, (VALUES, VALUES), generator=generator).float()
    fixed, partner = (e2 * e3).sum(2), e2 + e3
    for _ in range(STEPS):
        error = torch.sigmoid(torch.einsum("ak,abk->ab", e1, partner) + fixed) - label
        e1 = e1 - torch.einsum("ab,abk->ak", error, partner) / VALUES**2
    return float(singular_values(e1.numpy()).sum())


@pytest.mark.slow
def test_interaction_with_a_field_of_few_values_costs_abundance():
    few, many = ([abundance(n, seed) for seed in range(3)] for n in (3, 100))
    assert max(few) < min(many) - 0.5, (few, many)
