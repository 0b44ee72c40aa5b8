"""Weight averages against the direct sum over stored weights, and why they are in single precision."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from bench.nn import averaging as av


def walk(steps, seed=0, dtype=torch.float32, scale=0.02):
    """A small network and its stored weights theta_0 … theta_T along a random walk; a generator of steps."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).to(dtype)
    stored = [[p.detach().clone() for p in net.parameters()]]

    def go():
        for _ in range(steps):
            with torch.no_grad():
                for p in net.parameters():
                    p.add_(scale * torch.randn_like(p))
            stored.append([p.detach().clone() for p in net.parameters()])
            yield

    return net, stored, go()


def direct(stored, weights):
    """sum_t w_t theta_t / sum_t w_t in double precision."""
    w = torch.tensor(np.asarray(weights) / np.sum(weights), dtype=torch.float64)
    return [torch.tensordot(w, torch.stack(ps).double(), 1) for ps in zip(*stored, strict=True)]


def assert_close(values, expected, atol=1e-6):
    for v, e in zip(values, expected, strict=True):
        assert v.dtype == torch.float32
        assert (v.double() - e).abs().max() < atol


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("steps", [1, 200])
def test_beta_average_is_the_weighted_sum_of_the_stored_weights(beta, steps):
    net, stored, go = walk(steps)
    average = av.BetaAverage(net.parameters(), steps, beta)
    for _ in go:
        average.update()
    a = scipy.stats.beta.pdf((np.arange(steps + 1) + 0.5) / (steps + 1), beta, beta)
    assert_close(average.values, direct(stored, a))
    with pytest.raises(ValueError, match=f"for {steps} steps"):
        average.update()


@pytest.mark.parametrize(
    ("beta", "steps", "end", "zero"),
    [(0.5, 5000, 0.062, 0.0064), (0.1, 5000, 0.22, 0.063), (0.1, 500, None, 0.092)],
)
def test_shares_of_the_ends(beta, steps, end, zero):
    w = av.beta_weights(steps, beta)
    assert w.sum() == pytest.approx(1)
    assert w[0] == pytest.approx(zero, rel=0.01)
    if end is not None:
        n = steps // 100
        assert w[:n].sum() == pytest.approx(end, rel=0.02)
        assert w[-n:].sum() == pytest.approx(end, rel=0.02)


def test_exponential_average():
    net, stored, go = walk(100)
    average = av.ExponentialAverage(net.parameters(), 0.9)
    for _ in go:
        average.update()
    weights = 0.1 * 0.9 ** np.arange(100, -1, -1)
    weights[0] = 0.9**100
    assert_close(average.values, direct(stored, weights))


def test_uniform_average_over_a_window_and_over_joined_windows():
    net, stored, go = walk(60)
    parts = [av.UniformAverage(net.parameters()) for _ in range(3)]
    with pytest.raises(ValueError, match="empty"):
        parts[0].assign()
    for step, _ in enumerate(go, 1):
        if step > 15:
            parts[0 if step <= 40 else 1].update()
    assert_close(parts[0].values, direct(stored[16:41], np.ones(25)))
    parts[2].join(parts[0])
    parts[2].join(parts[1])
    assert parts[2].count == 45
    assert_close(parts[2].values, direct(stored[16:], np.ones(45)))


def test_interpolate():
    net, stored, go = walk(1)
    list(go)
    for alpha in (0.0, 0.25, 1.0):
        expected = direct(stored, [1 - alpha, alpha])
        assert_close(av.interpolate(stored[0], net.parameters(), alpha), expected)


def test_only_parameters_are_averaged_and_the_network_gets_them_back():
    net, stored, go = walk(4)
    average = av.BetaAverage(net.parameters(), 4, 0.5)
    for step, _ in enumerate(go):
        net[1].running_mean.fill_(step)
        average.update()
    with average.applied():
        assert torch.equal(net[0].weight, average.values[0])
    assert torch.equal(net[0].weight, stored[-1][0])
    average.assign()
    assert torch.equal(net[2].bias, average.values[-1])
    assert net[1].running_mean.unique().item() == 3


def test_a_checkpoint_goes_on_where_it_was():
    net, _, go = walk(10)
    kinds = (
        lambda: av.BetaAverage(net.parameters(), 10, 0.1),
        lambda: av.ExponentialAverage(net.parameters(), 0.8),
        lambda: av.UniformAverage(net.parameters()),
    )
    whole = [k() for k in kinds]
    for step, _ in enumerate(go):
        if step == 6:
            resumed = [k() for k in kinds]
            for r, w in zip(resumed, whole, strict=True):
                r.load_state_dict(w.state_dict())
            whole += resumed
        for average in whole:
            average.update()
    for first, again in zip(whole[:3], whole[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first.values, again.values, strict=True))


def test_a_network_in_half_precision_has_an_average_in_single_precision():
    net, stored, go = walk(50, dtype=torch.float16, scale=1e-3)
    average = av.BetaAverage(net.parameters(), 50, 0.5)
    for _ in go:
        average.update()
    assert_close(average.values, direct(stored, av.beta_weights(50, 0.5)))
    average.assign()
    assert net[0].weight.dtype == torch.float16


def half_precision_error(steps=5000, beta=0.5, n=2000):
    """How far a half-precision Beta average ends from the exact one, in units of how far that moved.

    Weights of the size of a transformer's (sd 0.03) that drift by 5e-6 a step, as AdamW at the paper's
    learning rate with a cosine schedule moves them. The half run rounds the average and what it takes in.
    """
    rng = torch.Generator().manual_seed(0)
    theta = 0.03 * torch.randn(n, generator=rng, dtype=torch.float64)
    drift = torch.sign(torch.randn(n, generator=rng, dtype=torch.float64))
    start, net = theta.clone(), theta.float().clone()
    single = av.BetaAverage([net], steps, beta)
    half = net.half()
    weights = av.beta_weights(steps, beta)
    seen, exact = weights[0], weights[0] * theta
    for t in range(1, steps + 1):
        lr = 5e-6 * 0.5 * (1 + np.cos(np.pi * t / steps))
        theta = theta + lr * drift
        net.copy_(theta)
        single.update()
        r = weights[t] / seen
        half = (half + r * net.half()) / (1 + r)
        seen += weights[t]
        exact += weights[t] * theta
    moved = (exact - start).norm()
    return [float((x.double() - exact).norm() / moved) for x in (half, single.values[0])]


def test_half_precision_loses_the_average():
    half, single = half_precision_error()
    assert half > 0.2  # 0.31: a third of the way the average should have gone
    assert single < 1e-3
