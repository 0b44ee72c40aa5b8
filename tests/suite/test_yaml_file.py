"""Suite files as editors and strangers make them: their values, or a message that names file and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import BenchError
from bench.registry import Registry
from bench.suite import Suite, resolve

GOOD = """profiles:
  tour: {seeds: 1}
tracks:
  grids:
    ranks_by: value
    tour:
      grid: {scales: [1]}
      run: {rate: 0.5}
"""
BOMB = "x-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"x-{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

WRONG = {
    "UTF-16": (GOOD.encode("utf-16"), ":1: the file is UTF-16"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "not YAML"),
    "Latin-1": (GOOD.encode() + "# größe\n".encode("latin-1"), ":9: the file is not UTF-8 (byte "),
    "deep": (b"profiles: " + b"[" * 3000 + b"]" * 3000 + b"\n", "nested too deeply for a suite"),
    "deep blocks": ("".join(f"{' ' * i}- \n" for i in range(2000)).encode(), "nested too deeply for a suite"),
    "aliases of aliases": ((BOMB + GOOD).encode(), "more than 100,000 values, with all aliases written out"),
    "an alias in itself": (b"x-a: &a [*a]\n" + GOOD.encode(), "one that contains itself"),
    "an object": (b"x-a: !!python/object/apply:os.system [ls]\n" + GOOD.encode(), ":1: not YAML"),
    "NUL": (b"profiles: \0\n", "not YAML"),
    "a list as key": (b"? [a]\n: b\n" + GOOD.encode(), ": "),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_suite_is_a_message_that_names_the_file(sandbox, bench, name):
    data, said = WRONG[name]
    sandbox.use("grids").suite.write_bytes(data)
    done = bench(*sandbox.arguments("plan", "-p", "tour"))
    assert done.code == 2, done
    assert f"{sandbox.suite}:" in done.err
    assert said in done.err


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_content(sandbox, data):
    sandbox.use("grids").suite.write_bytes(data)
    (plan,) = resolve(Suite.read(sandbox.suite), sandbox.registry(), "tour", ("grids",))
    assert (plan.run.rate, plan.grid.scales) == (0.5, (1,))


def test_a_folder_is_no_suite(sandbox, bench):
    done = bench("plan", "--suite", sandbox.folder)
    assert done.code == 2
    assert f"--suite {sandbox.folder}: no such file" in done.err


#: Small edits of the file: where, how many bytes go, and what stands there instead.
EDITS = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 4), st.binary(max_size=4)), max_size=4)


@given(EDITS)
def test_a_mutated_suite_is_read_or_refused_and_never_a_traceback(sandbox, edits):
    data = GOOD.encode()
    for at, gone, new in edits:
        data = data[:at] + new + data[at + gone :]
    sandbox.suite.write_bytes(data)
    registry = Registry(plugins=[str(p) for p in (sandbox.plugins or sandbox.use("grids").plugins)])
    try:
        suite = Suite.read(sandbox.suite)
        for profile in suite.profile_names():
            resolve(suite, registry, profile, ("grids",))
    except BenchError:
        return
