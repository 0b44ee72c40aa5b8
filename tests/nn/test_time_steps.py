"""The laws of Diff-Tuning: psi as the paper and the released code have it, and what is drawn by a law."""

import pytest
import scipy.stats
import torch

from bench.nn.time_steps import draw, psi

#: Exponents that the authors launched, and the mean of t / T where time steps are drawn by each (paper sheet,
#: §9).
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


def test_psi_rises_from_the_data_to_1_at_the_noise():
    assert psi().tolist() == pytest.approx([(i + 1) / 1000 for i in range(1000)])
    for tau in (0.3, 1, 1.5):
        law = psi(tau, steps=50)
        assert (law.diff() > 0).all()
        assert law[24].item() == pytest.approx(0.5**tau)
        assert law[-1] == 1
    assert (psi(0.0) == 1).all()


def test_half_of_all_pictures_are_of_the_bank_at_the_papers_exponent():
    assert psi().mean().item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("power", "mean"), POWERS.items())
def test_mean_of_the_time_steps_of_the_released_code(power, mean):
    p = psi(power) / psi(power).sum()
    assert (p @ torch.arange(1000.0).double()).item() / 1000 == pytest.approx(mean, abs=0.006)


@pytest.mark.parametrize("law", [psi(0.5), psi(1), psi(1.5), psi(1).flip(0), psi(0)])
def test_drawn_time_steps_follow_the_law_and_no_other(law):
    t = draw(law, 100_000, generator())
    assert t.dtype == torch.int64
    found = torch.bincount(t, minlength=1000).reshape(50, 20).sum(1)
    for of, right in ((law, True), (law * psi(0.1), False)):
        expected = 100_000 * (of / of.sum()).reshape(50, 20).sum(1)
        assert (scipy.stats.chisquare(found.numpy(), expected.numpy()).pvalue > 1e-3) == right


def test_draws_are_of_the_generator_alone():
    law = psi(1.0, steps=50)
    assert torch.equal(draw(law, 20, generator(3)), draw(law, 20, generator(3)))
    assert int(draw(law, 10_000, generator()).max()) == 49
