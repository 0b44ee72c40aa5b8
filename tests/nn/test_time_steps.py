"""The laws of Diff-Tuning: what is drawn against what is declared, and weighting against sampling."""

import pytest
import scipy.stats
import torch

from bench.nn.time_steps import TimeLaw, psi, xi

#: Exponents that the authors launched, and the mean of t / T under each (paper sheet, §9).
POWERS = {
    0: 0.50,
    0.25: 0.55,
    0.5: 0.60,
    0.75: 0.64,
    0.9: 0.65,
    1: 0.67,
    1.05: 0.67,
    1.1: 0.68,
    1.3: 0.70,
    1.5: 0.71,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("power", "mean"), POWERS.items())
def test_mean_of_the_rising_law(power, mean):
    p = psi(power).probabilities
    assert p.sum().item() == pytest.approx(1)
    assert (p @ torch.arange(1000.0).double()).item() / 1000 == pytest.approx(mean, abs=0.006)
    assert torch.equal(xi(power).probabilities, p.flip(0))


def test_weights_at_the_ends():
    weights = 1000 * psi().probabilities
    assert weights[0].item() == pytest.approx(0.002, abs=1e-4)
    assert weights[-1].item() == pytest.approx(1.998, abs=1e-4)
    assert weights.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("law", [psi(0.5), psi(1), psi(1.5), xi(1), xi(0)], ids=repr)
def test_drawn_time_steps_follow_the_law(law):
    t, weight = law.draw(100_000, generator())
    assert t.dtype == torch.int64
    assert (weight == 1).all()
    expected = 100_000 * law.probabilities.reshape(50, 20).sum(1)
    found = torch.bincount(t, minlength=1000).reshape(50, 20).sum(1)
    assert scipy.stats.chisquare(found.numpy(), expected.numpy()).pvalue > 1e-3


def test_another_law_is_told_apart():
    """The test above can fail: what is drawn at exponent 1.1 is not of exponent 1."""
    t, _ = psi(1.1).draw(100_000, generator())
    expected = 100_000 * psi(1).probabilities.reshape(50, 20).sum(1)
    found = torch.bincount(t, minlength=1000).reshape(50, 20).sum(1)
    assert scipy.stats.chisquare(found.numpy(), expected.numpy()).pvalue < 1e-3


@pytest.mark.parametrize("make", [psi, xi])
def test_sampling_and_weighting_agree_in_expectation(make):
    loss = torch.linspace(0, 3, 1000).cos() + torch.arange(1000) / 300  # any function of the time step
    law = make(1.3)
    exact = (law.probabilities @ loss.double()).item()
    for by in ("sampling", "weighting"):
        t, weight = make(1.3, by=by).draw(200_000, generator(1))
        terms = weight * loss[t]
        assert abs(terms.mean().item() - exact) < 4 * terms.std().item() / 200_000**0.5
    assert abs(loss.mean().item() - exact) > 0.05  # the uniform law gives another


def test_draws_are_of_the_generator_alone():
    for by in ("sampling", "weighting"):
        law = TimeLaw(1.0, rising=True, steps=50, by=by)
        first, again = law.draw(20, generator(3)), law.draw(20, generator(3))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
        assert int(law.draw(10_000, generator())[0].max()) == 49
