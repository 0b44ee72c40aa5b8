"""The generated log: its sizes, its shares of variance, and that its true probabilities are a ceiling."""

import numpy as np
import pytest

from bench.data.catalog import CATALOG
from bench.data.tables import planted
from bench.tracks.common.metrics import auc


@pytest.fixture(scope="module")
def log():
    return planted.read()


def test_it_is_as_large_as_it_says_and_split_as_it_says(log):
    assert log.values.shape == (300_000, 8)
    assert [c.max() < size for c, size in zip(log.values.T, planted.SIZES.values(), strict=True)] == [
        True
    ] * 8
    assert log.cuts == (210_000, 240_000)
    rates = [part.mean() for part in np.split(log.label, log.cuts)]
    assert max(rates) - min(rates) < 0.02


def test_it_is_the_same_every_time_and_cannot_be_changed(log):
    again = planted.read.__wrapped__()
    for name in ("values", "probability", "label"):
        assert np.array_equal(getattr(log, name), getattr(again, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(log, name)[0] = 0


def test_values_are_zipf_distributed(log):
    seen = np.bincount(log.values[:, 5], minlength=1_000)
    expected = np.arange(1, 1_001) ** -1.05
    expected *= len(log.values) / expected.sum()
    np.testing.assert_allclose(seen[:5], expected[:5], rtol=0.05)


def test_labels_are_draws_of_their_probabilities(log):
    """The last figure changes if a NumPy draws other numbers from the same seed: raise `VERSION` then."""
    logit = np.log(log.probability / (1 - log.probability))
    assert logit.std() == pytest.approx(1.5)
    for low in np.arange(0.1, 0.9, 0.1):
        at = (log.probability >= low) & (log.probability < low + 0.1)
        assert log.label[at].mean() == pytest.approx(log.probability[at].mean(), abs=0.02)
    test = slice(log.cuts[1], None)
    assert auc(log.label[test], log.probability[test]) == pytest.approx(0.8127, abs=1e-4)


def test_the_catalogue_says_that_it_is_generated():
    assert "generated" in CATALOG["planted"].title
    source = CATALOG["planted"].open()
    assert source.missing() is None
    assert source.fingerprint() == planted.fingerprint()
    assert "planted: here" in source.verify().summary()
