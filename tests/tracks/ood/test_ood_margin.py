"""Margin metric softmax: known cases, its gradient, and the form of the released code."""

import pytest
import torch
import torch.nn.functional as F

from bench.tracks.ood.nets.margin import margin_metric_softmax

B, C, D = 6, 5, 8


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    f = F.normalize(torch.randn(B, D, generator=g, dtype=torch.float64), dim=1)
    t = F.normalize(torch.randn(C, D, generator=g, dtype=torch.float64), dim=1)
    return f, t, torch.randint(0, C, (B,), generator=g)


def test_without_margin_it_is_cross_entropy_over_the_scaled_cosines(batch):
    f, t, y = batch
    expected = F.cross_entropy(f @ t.T / 0.01, y)
    assert torch.allclose(margin_metric_softmax(f, t, y, 0.01, 0.0), expected, rtol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_gradient_against_finite_differences(batch, lam):
    f, t, y = batch
    f.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: margin_metric_softmax(f, t, y, 0.1, lam), (f,), atol=1e-7)


@pytest.mark.parametrize("lam", [0.1, 0.3])
def test_it_equals_the_formula_term_by_term_and_the_released_form(batch, lam):
    f, t, y = batch
    tau = 0.05
    losses = []
    for i in range(B):
        terms = [(f[i] @ t[k] + lam * (1 - t[y[i]] @ t[k])) / tau for k in range(C)]
        losses.append(torch.logsumexp(torch.stack(terms), 0) - f[i] @ t[y[i]] / tau)
    loss = margin_metric_softmax(f, t, y, tau, lam)
    assert torch.allclose(loss, torch.stack(losses).mean(), rtol=1e-12)
    released = F.cross_entropy((f - lam * t[y]) @ t.T / tau, y)
    assert torch.allclose(loss, released, rtol=1e-12)


def test_a_distant_class_gets_the_larger_margin(batch):
    _, t, _ = batch
    f, y = t[:1], torch.tensor([0])
    near, far = torch.stack([t[0], t[0]]), torch.stack([t[0], -t[0]])
    gain = [
        margin_metric_softmax(f, names, y, 1.0, 0.5) - margin_metric_softmax(f, names, y, 1.0, 0.0)
        for names in (near, far)
    ]
    assert gain[0].abs() < 1e-12
    assert gain[1] > 0.1
