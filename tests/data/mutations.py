"""What happens to a file between its publisher and a reader, drawn by hypothesis: each is (what, how)."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st

#: For files whose preparation takes a second or so: a fifth of the examples of other tests.
few = settings(max_examples=settings().max_examples // 5)
#: Edits of a file: where, as a share of it, how many bytes go, and what stands there instead.
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3)
#: A file of any kind is cut off, written twice or has other bytes in it.
OF_BYTES = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("doubled"), st.none()),
    st.tuples(st.just("edited"), EDITS),
)
#: A file of lines has besides another order of lines, a line twice, a value that is none, another encoding.
OF_TEXT = st.one_of(
    OF_BYTES,
    st.tuples(st.just("shuffled"), st.integers(0, 99)),
    st.tuples(st.just("line twice"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("nan"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("encoded"), st.sampled_from(("utf-16", "utf-8-sig", "latin-1"))),
    st.tuples(st.just("line ends"), st.sampled_from((b"\r\n", b"\r"))),
)


def edited(data, edits):
    for share, gone, new in edits:
        at = int(share * len(data))
        data = data[:at] + new + data[at + gone :]
    return data


def mutated(data, harm, header=False):
    """What became of a file, and whether a reader has to read it as it was before.

    ``header``: whether its first line names columns, and stays the first.
    """
    what, how = harm
    lines = data.splitlines(keepends=True)
    first, rows = lines[: int(header)], lines[int(header) :]
    if what == "cut":
        return data[: int(how * len(data))], False
    if what == "doubled":
        return data * 2, False
    if what == "edited":
        return edited(data, how), False
    if what == "shuffled":
        random.Random(how).shuffle(rows)
        return b"".join([*first, *rows]), True
    if what == "line twice":
        return data + rows[int(how * len(rows))], False
    if what == "nan":
        at = int(how * len(rows))
        *others, _ = rows[at].replace(b",", b" , ").split()
        rows[at] = b" ".join([*others, b"nan"]).replace(b" , ", b",") + b"\n"
        return b"".join([*first, *rows]), False
    if what == "encoded":
        signed = data.replace(b"o", "ö".encode(), 1) if how == "latin-1" else data
        return signed.decode().encode(how), how == "utf-8-sig"
    assert what == "line ends"
    return data.replace(b"\r\n", b"\n").replace(b"\n", how), True
