"""`bench artifacts`: what travels with the package, and making it again."""

import hashlib

import pytest

EMBEDDED = """

from pathlib import Path

from bench.contract import Embedded, Stage


def train(ctx):
    (ctx.outdir / "net.bin").write_bytes(bytes(range(ctx.params["size"])))


STAGE = Stage(name="tiny-net", build=train, params={"size": 9})


class WithNet(type(TRACK)):
    def embedded(self):
        file = Path(__file__).parent / "net.bin"
        recipe = STAGE.address if file.stat().st_size == 9 else "old"
        return (Embedded(stage=STAGE, file=file, recipe=recipe),)


TRACK = WithNet()
"""

KILLED_ONCE = """
    begun = ctx.outdir / "begun"
    if not begun.exists():
        begun.touch()
        raise OSError("killed")
"""


@pytest.fixture
def net(sandbox):
    stub = sandbox.copy("grids")
    stub.write_text(stub.read_text() + EMBEDDED)
    sandbox.of("grids")
    (sandbox.folder / "net.bin").write_bytes(bytes(range(9)))
    return sandbox


def test_lists_size_digest_and_whether_the_recipe_is_todays(net, bench):
    said = bench(*net.arguments("artifacts", store=False, suite=False))
    digest = hashlib.sha256(bytes(range(9))).hexdigest()[:16]
    assert said.code == 0
    assert "tiny-net" in said.out
    assert digest in said.out
    assert "today's" in said.out
    (net.folder / "net.bin").write_bytes(b"older")
    assert "another: old" in bench(*net.arguments("artifacts", "list", store=False, suite=False)).out


def test_builds_into_a_folder_compares_and_touches_nothing_of_the_package(net, bench, tmp_path):
    line = net.arguments(
        "artifacts", "build", "tiny-net", "--out", str(tmp_path / "new"), store=False, suite=False
    )
    said = bench(*line)
    assert said.code == 0, said
    assert "the same bytes as the package's" in said.out
    assert (tmp_path / "new" / "net.bin").read_bytes() == bytes(range(9))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["net.bin"]
    again = bench(*line)
    assert again.code == 2
    assert "exists; remove it or choose another --out" in again.err
    (net.folder / "net.bin").write_bytes(b"older")
    (tmp_path / "new" / "net.bin").unlink()
    assert "other bytes than the package's" in bench(*line).out
    assert (net.folder / "net.bin").read_bytes() == b"older"


def test_a_build_that_was_killed_goes_on_with_what_it_left(net, bench, tmp_path):
    code = net.folder / "grids.py"
    code.write_text(code.read_text().replace("def train(ctx):\n", "def train(ctx):\n" + KILLED_ONCE))
    out = tmp_path / "new"
    line = net.arguments("artifacts", "build", "tiny-net", "--out", str(out), store=False, suite=False)
    with pytest.raises(OSError, match="killed"):
        bench(*line)
    assert [p.is_dir() for p in out.iterdir()] == [True]
    assert bench(*line).code == 0
    assert [p.name for p in out.iterdir()] == ["net.bin"]


def test_mistakes_are_told_with_the_nearest(net, bench):
    said = bench(*net.arguments("artifacts", "build", "tiny-nit", store=False, suite=False))
    assert said.code == 2
    assert "did you mean 'tiny-net'?" in said.err
    assert (
        "did you mean 'build'?" in bench(*net.arguments("artifacts", "buidl", store=False, suite=False)).err
    )
