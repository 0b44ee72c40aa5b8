"""Distances between sets against closed forms, against other people's formulas, and by simulation."""

import numpy as np
import pytest
import scipy.linalg
import torch

from bench.nn import distances as ds

RNG = np.random.default_rng


def normal(n, d, seed, shift=0.0):
    return RNG(seed).standard_normal((n, d)) + shift


def mean_kernel(a, b):
    """E (x.y / d + 1)^3 of independent x ~ N(a, 1), y ~ N(b, 1), from their moments."""
    d, s, sizes = len(a), a @ b, a @ a + b @ b
    second = d + sizes + s * s
    third = s**3 + 3 * s * sizes + (3 * d + 6) * s
    return third / d**3 + 3 * second / d**2 + 3 * s / d + 1


# ------------------------------------------------------------------------------------------ kernel distance


def test_kernel_distance_of_a_set_with_itself():
    """Of an unbiased estimate not 0 but twice the gap of the kernel's mean off the diagonal and over all."""
    x = normal(40, 6, 0)
    k = (x @ x.T / 6 + 1) ** 3
    off = (k.sum() - np.trace(k)) / (40 * 39)
    assert ds.kernel_distance(x, x).value == pytest.approx(2 * (off - k.mean()))


def test_kernel_distance_is_the_one_of_the_definition():
    x, y = normal(5, 4, 1), normal(7, 4, 2, 0.4)

    def mean(a, b, same):
        pairs = [
            (v @ w / 4 + 1) ** 3 for i, v in enumerate(a) for j, w in enumerate(b) if not (same and i == j)
        ]
        return np.mean(pairs)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    assert ds.kernel_distance(x, y).value == pytest.approx(expected)


def test_kernel_distance_is_torchmetrics():
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(50, 16, 1), normal(50, 16, 2, 0.4)
    expected = kid.poly_mmd(torch.from_numpy(x), torch.from_numpy(y)).item()
    assert ds.kernel_distance(x, y).value == pytest.approx(expected)
    assert ds.kernel_distance(y, x) == pytest.approx(ds.kernel_distance(x, y))


@pytest.mark.parametrize("entries", [1, 150, 10_000])
def test_kernel_distance_in_blocks_of_rows_is_the_one_of_whole_matrices(monkeypatch, entries):
    x, y = normal(51, 16, 1), normal(64, 16, 2, 0.4)
    whole = ds.kernel_distance(x, y)
    monkeypatch.setattr(ds, "_ENTRIES", entries)  # blocks of one row, of two, whole matrices
    assert ds.kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_kernel_distance_of_sets_as_large_as_the_laptops_has_one_block():
    """So its sums keep their order, and published values their last digit."""
    x, y = normal(500, 8, 1), normal(400, 8, 2, 0.4)
    k = (x @ y.T / 8 + 1) ** 3
    sums = ds._kernel_sums(x, y)
    assert (sums.rows == k.sum(1)).all()
    assert (sums.columns == k.sum(0)).all()
    assert sums.all == k.sum()


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize(("m", "n"), [(20, 20), (15, 40)])
def test_kernel_distance_is_unbiased_and_knows_its_error(shift, m, n):
    d, runs = 6, 1500
    rng = RNG(7)
    x, y = rng.standard_normal((runs, m, d)), rng.standard_normal((runs, n, d)) + shift
    found = [ds.kernel_distance(a, b) for a, b in zip(x, y, strict=True)]
    values, errors = (np.array(v) for v in zip(*found, strict=True))
    a, b = np.zeros(d), np.full(d, shift)
    truth = mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)
    assert (truth == 0) == (shift == 0)
    assert abs(values.mean() - truth) < 4 * values.std() / runs**0.5
    ratio = (errors**2).mean() / values.var()
    assert (0.85 if shift else 1.0) < ratio < (1.4 if shift else 2.8)


def test_the_jackknife_is_the_one_of_the_definition():
    x, y = normal(9, 3, 3), normal(7, 3, 4, 1.0)
    left = [ds.kernel_distance(np.delete(x, i, 0), y).value for i in range(9)]
    right = [ds.kernel_distance(x, np.delete(y, i, 0)).value for i in range(7)]
    variance = 8 * np.var(left) + 6 * np.var(right)
    assert ds.kernel_distance(x, y).error == pytest.approx(variance**0.5)
    with pytest.raises(ValueError, match="2 and 7 pictures"):
        ds.kernel_distance(x[:2], y)


# ----------------------------------------------------------------------------------------- Fréchet distance


def bootstrapped(real, fakes, draws=3000, seed=0):
    """`kernel_distance` of real pictures to each of some sets, of pictures drawn anew, the same for all sets.

    Of two copies of one picture no kernel counts, as of a picture with itself.
    """
    rng, d = RNG(seed), real.shape[1]
    m, n = len(real), len(fakes[0])
    w, z = (rng.multinomial(k, np.full(k, 1 / k), draws).astype(float) for k in (m, n))

    def within(x, times):
        k = (x @ x.T / d + 1) ** 3
        np.fill_diagonal(k, 0)
        return ((times @ k) * times).sum(1) / (len(x) ** 2 - (times**2).sum(1))

    of_real = within(real, w)
    across = [((w @ (real @ y.T / d + 1) ** 3) * z).sum(1) / (m * n) for y in fakes]
    return np.stack([of_real + within(y, z) - 2 * a for y, a in zip(fakes, across, strict=True)])


def test_the_units_of_a_kernel_distance_have_its_mean_and_a_bootstraps_variance():
    real, one = normal(150, 40, 0), 1.1 * normal(90, 40, 1, 0.25)
    other = 0.9 * one + 0.2 * normal(90, 40, 2)  # another generator, from the same noise
    units = [ds.kernel_units(real, y) for y in (one, other)]
    for u, y in zip(units, (one, other), strict=True):
        assert u.shape == (240,)
        assert u.mean() == pytest.approx(ds.kernel_distance(real, y).value, rel=1e-12)
    drawn = bootstrapped(real, (one, other))
    # Of the difference too, to which the real pictures add little: the units are subtracted one by one.
    for u, v in ((units[0], drawn[0]), (units[1], drawn[1]), (units[0] - units[1], drawn[0] - drawn[1])):
        assert u.std(ddof=1) / len(u) ** 0.5 == pytest.approx(v.std(), rel=0.08)
    assert drawn[0].std() > 3 * (drawn[0] - drawn[1]).std()


def test_the_units_of_a_kernel_distance_have_its_first_order_variance():
    """Against the projections written out, picture by picture."""
    real, fake = normal(12, 5, 0), normal(7, 5, 1)
    k = [[(a @ b / 5 + 1) ** 3 for b in (*real, *fake)] for a in (*real, *fake)]
    value, total = ds.kernel_distance(real, fake).value, 19
    own = [sum(k[i][j] for j in range(12) if j != i) / 11 - sum(k[i][12:]) / 7 for i in range(12)]
    others = [sum(k[i][j] for j in range(12, 19) if j != i) / 6 - sum(k[i][:12]) / 12 for i in range(12, 19)]
    assert np.mean(own) + np.mean(others) == pytest.approx(value)
    variance = 4 * np.var(own) / 12 + 4 * np.var(others) / 7
    assert ds.kernel_units(real, fake).var() / total == pytest.approx(variance)


def test_gaussians_in_closed_form():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.25])
    gap = np.array([1.0, -2.0, 0.5])
    expected = gap @ gap + ((a**0.5 - b**0.5) ** 2).sum()
    turn = np.linalg.qr(RNG(0).standard_normal((3, 3)))[0]
    for q in (np.eye(3), turn):  # a rotation of both changes nothing
        got = ds.gaussian_distance(q @ gap, q @ np.diag(a) @ q.T, np.zeros(3), q @ np.diag(b) @ q.T)
        assert got == pytest.approx(expected)
    assert ds.gaussian_distance(gap, np.diag(a), gap, np.diag(a)) == pytest.approx(0, abs=1e-12)
    assert ds.gaussian_distance(
        np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[1.0]])
    ) == pytest.approx(5)


def test_gaussians_that_do_not_commute():
    x, y = normal(50, 5, 0) @ normal(5, 5, 1), normal(60, 5, 2) @ normal(5, 5, 3)
    c, c2, gap = np.cov(x.T), np.cov(y.T), x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(c + c2 - 2 * scipy.linalg.sqrtm(c @ c2).real)
    assert ds.gaussian_distance(x.mean(0), c, y.mean(0), c2) == pytest.approx(expected)


def test_gaussian_distance_is_torchmetrics():
    x, y = normal(50, 5, 0) @ normal(5, 5, 1), normal(60, 5, 2) @ normal(5, 5, 3)
    c, c2 = np.cov(x.T), np.cov(y.T)
    fid = pytest.importorskip("torchmetrics.image.fid")
    theirs = fid._compute_fid(*(torch.from_numpy(v) for v in (x.mean(0), c, y.mean(0), c2)))
    assert ds.gaussian_distance(x.mean(0), c, y.mean(0), c2) == pytest.approx(theirs.item())


def test_frechet_of_a_set_with_itself_and_shifted():
    x = normal(300, 40, 0)
    assert ds.frechet(x, x, n=300, dims=16) == pytest.approx(0, abs=1e-9)
    shift = RNG(1).standard_normal(40)
    assert ds.frechet(x, x + shift, n=300, dims=40) == pytest.approx(shift @ shift)
    p = ds.projection(40, 16, seed=0)
    assert ds.frechet(x, x + shift, n=300, dims=16) == pytest.approx(((shift @ p) ** 2).sum())
    spread = ds.frechet(x, x.mean(0) + 2 * (x - x.mean(0)), n=300, dims=40)
    assert spread == pytest.approx(np.trace(np.cov(x.T)))


def test_projected_distances_are_kept_on_average():
    p = ds.projection(200, 20, 0)
    assert p.T @ p == pytest.approx(10 * np.eye(20))
    v = normal(3000, 200, 1)
    assert ((v @ p) ** 2).sum(1).mean() == pytest.approx((v**2).sum(1).mean(), rel=0.02)
    assert not np.allclose(p, ds.projection(200, 20, 1))
    assert np.array_equal(p, ds.projection(200, 20, 0))


def test_the_floor_is_what_two_equal_sets_have_and_falls_with_n():
    pool = normal(4000, 20, 0)
    floors = [ds.frechet_floor(pool, n=n, dims=20) for n in (50, 200, 800)]
    assert floors[0].value > 2 * floors[1].value > 4 * floors[2].value
    fresh = [ds.frechet(normal(200, 20, s), normal(200, 20, s + 50), n=200, dims=20) for s in range(1, 20)]
    assert floors[1].value == pytest.approx(np.mean(fresh), rel=0.1)
    assert 0 < floors[1].error < floors[1].value
    with pytest.raises(ValueError, match="60 pictures: expected at least 80"):
        ds.frechet_floor(pool[:60], n=40, dims=20)


def test_frechet_takes_the_same_number_of_each():
    x, y = normal(500, 10, 0), normal(300, 10, 1)
    few = ds.frechet(x, y, n=100, dims=10)
    assert few == ds.frechet(x, y, n=100, dims=10)
    assert few != ds.frechet(x, y, n=100, dims=10, seed=1)
    assert few > ds.frechet(x, y, n=300, dims=10)
    with pytest.raises(ValueError, match="300 pictures: expected at least 400"):
        ds.frechet(x, y, n=400)
    with pytest.raises(ValueError, match="10 pictures for 10 directions"):
        ds.frechet(x, y, n=10, dims=10)


# ------------------------------------------------------------------------------------- precision and recall


def test_coverage_of_equal_and_of_distant_sets():
    x = normal(80, 5, 0)
    assert ds.precision_recall(x, x) == (1, 1)
    assert ds.precision_recall(x, x + 100) == (0, 0)


def test_coverage_of_one_of_two_modes():
    """What is drawn is real, but half of what is real is never drawn."""
    real = np.concatenate([normal(100, 3, 0), normal(100, 3, 1, 50.0)])
    precision, recall = ds.precision_recall(real, normal(200, 3, 2))
    assert precision > 0.9
    assert 0.4 < recall <= 0.5
    assert ds.precision_recall(normal(200, 3, 2), real) == (recall, precision)


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_is_the_one_of_the_definition(k):
    x, y = normal(25, 2, 3), normal(30, 2, 4, 0.8)

    def inside(points, balls):
        radii = [sorted(np.linalg.norm(balls - b, axis=1))[k] for b in balls]
        return np.mean(
            [any(np.linalg.norm(p - b) <= r for b, r in zip(balls, radii, strict=True)) for p in points]
        )

    assert ds.precision_recall(x, y, k) == pytest.approx((inside(y, x), inside(x, y)))
    with pytest.raises(ValueError, match="more than 3"):
        ds.precision_recall(x[:3], y)


# ------------------------------------------------------------------------------------------------- features


@pytest.fixture(scope="module")
def lite0():
    return ds.Lite0(batch=16)


def patches(n, side=48):
    """Disjoint patches of two photos that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    found = []
    for name in ("china.jpg", "flower.jpg"):
        photo = load_sample_image(name)
        found += [
            photo[r : r + side, c : c + side]
            for r in range(0, 427 - side, side)
            for c in range(0, 640 - side, side)
        ]
    order = RNG(0).permutation(len(found))
    return np.stack([found[i] for i in order[:n]])


def test_features(lite0):
    pictures = patches(12)
    pictures.flags.writeable = False
    found = lite0(pictures)
    assert found.shape == (12, ds.FEATURES)
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 6  # what the last activation leaves, averaged over the map
    alone = np.concatenate([lite0(pictures[i : i + 1]) for i in range(3)])
    assert alone == pytest.approx(found[:3], abs=1e-4)
    assert lite0(pictures[:0]).shape == (0, ds.FEATURES)


@pytest.mark.slow
def test_distances_grow_with_noise(lite0):
    pictures = patches(140)
    real, held_out = lite0(pictures[:70]), lite0(pictures[70:])
    same = ds.kernel_distance(real, held_out)
    assert abs(same.value) < 3 * same.error
    noise = RNG(1).standard_normal(pictures[70:].shape)
    few, many = (lite0((pictures[70:] + d * noise).clip(0, 255).astype(np.uint8)) for d in (40, 90))
    distances = [ds.kernel_distance(real, fake) for fake in (few, many)]
    assert distances[0].value > 3 * distances[0].error
    assert distances[1].value > distances[0].value + distances[1].error
    floor = ds.frechet_floor(np.concatenate([real, held_out]), n=70, dims=32)
    assert floor.value < ds.frechet(real, few, n=70, dims=32) < ds.frechet(real, many, n=70, dims=32)
    recalls = [ds.precision_recall(real, fake).recall for fake in (held_out, few, many)]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[2] + 0.5
