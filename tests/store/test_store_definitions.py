"""Digests of definitions: what of a file's text counts."""

from __future__ import annotations

import pytest

from bench.store.code.definitions import read

CODE = '''
"""About this file."""
from math import pi

def area(r, *, scale=1.0):
    """Of a circle."""
    # the usual formula
    return pi * r ** 2 * scale

class Shape:
    """One shape."""
    sides = 4
    """How many sides."""
'''


def digests(text: str) -> dict[str, list[str]]:
    return {name: [d["digest"] for d in of] for name, of in read(text.encode())["defs"].items()}


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("About this file.", "Other words."),
        CODE.replace('"""About this file."""', ""),
        CODE.replace("Of a circle.", ""),
        CODE.replace('    """Of a circle."""\n', ""),
        CODE.replace("    # the usual formula\n", "\n\n    # another\n"),
        CODE.replace("pi * r ** 2 * scale", "(pi*r**2)*scale  # why"),
        CODE.replace("r, *, scale=1.0", "\n    r,\n    *,\n    scale=1.0,\n"),
        CODE.replace('    """How many sides."""\n', ""),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(same):
    assert same != CODE
    assert digests(same) == digests(CODE)


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (CODE.replace("** 2", "** 3"), {"area"}),
        (CODE.replace("scale=1.0", "scale=1"), {"area"}),
        (CODE.replace("*, scale", "scale"), {"area"}),
        (CODE.replace("pi * r", "r * pi"), {"area"}),
        (CODE.replace("area", "surface"), {"area", "surface"}),
        (CODE.replace("sides = 4", "sides = '4'"), {"Shape"}),
        (CODE + "\nx = 1\n", {"x"}),
        (CODE.replace("return pi * r ** 2 * scale", "pi * r ** 2 * scale"), {"area"}),
    ],
)
def test_code_counts(other, names):
    then, now = digests(CODE), digests(other)
    assert {n for n in {*then, *now} if then.get(n) != now.get(n)} == names


def test_a_digest_is_the_same_in_every_python():
    """Numbers fixed once: another version of Python, or of this code, must not make every record stale."""
    assert digests(CODE) == {"area": ["1b210a1047be"], "Shape": ["dfd1724e45e2"]}


def test_in_which_module_of_ours_something_stands_is_not_in_a_digest():
    text = "def f():\n    from bench.tracks.ood.nets.clip import lite as l, other\n    return l\n"
    assert digests(text) == digests(text.replace("bench.tracks.ood.nets.clip", "bench.nn.towers"))
    assert digests(text) == digests(text.replace("bench.tracks.ood.nets.clip", ".clip"))
    assert digests(text) != digests(text.replace("lite as l, other", "other as l, lite"))
    assert digests(text) != digests(text.replace("bench.tracks.ood.nets.clip", "elsewhere.clip"))


def test_a_file_that_is_not_python_is_one_statement():
    first, second = read(b"def f(:\n"), read(b"def f(: #\n")
    assert first["defs"] == {}
    assert first["statements"] != second["statements"]
    assert read(b"x = 1\0")["statements"]
