"""Icons of the package: names in words, lines and what they enclose."""

import numpy as np
import pytest

from bench.contract import BenchError
from bench.data.drawings import icons

needs_icons = pytest.mark.skipif(icons.missing() is not None, reason="the extra 'pretrain' is not installed")


@needs_icons
def test_names_are_words_and_brands_and_letters_are_left_out():
    found = [(s, n) for s, n, _ in icons.listed()]
    names = {n for _, n in found}
    assert {s for s, _ in found} == set(icons.SETS)
    assert {"cat", "hot tub", "face grin stars"} <= names
    assert not [
        n for n in names if "-" in n or n.startswith(("alpha ", "google ", "microsoft ")) or len(n) < 2
    ]
    assert len(names) < len(found)  # an outline is called like what it outlines


@needs_icons
def test_what_a_ring_encloses_is_inside(monkeypatch, tmp_path):
    ring = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{}</svg>'
    shapes = {
        "circle": '<path d="M12 2a10 10 0 1 0 .01 0zM12 5a7 7 0 1 1-.01 0z" fill-rule="evenodd"/>',
        "bar": '<path d="M2 10h20v4H2z"/>',
    }
    files = []
    for name, path in shapes.items():
        (tmp_path / f"{name}.svg").write_text(ring.format(path))
        files.append(("material", name, tmp_path / f"{name}.svg"))
    monkeypatch.setattr(icons, "listed", lambda: iter(files))
    got = icons.read(48)
    assert got.names == ("circle", "bar")
    assert got.ink.shape == got.inside.shape == (2, 48, 48)
    assert got.ink[0, 24, 24] == 0
    assert got.inside[0, 24, 24] == 255
    assert got.inside[0, 0, 0] == 0
    assert np.array_equal(got.ink[1] > 128, got.inside[1] > 128)
    assert (got.inside >= got.ink).all()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(icons, "PACKAGE", "no-such-icons")
    with pytest.raises(BenchError, match="'no-such-icons' is not installed"):
        next(icons.listed())
