"""The working directory of a launched sweep: what git tracks, as it is now, and what the user named."""

import json
import subprocess
import zipfile

import pytest

from bench.cluster import packing
from bench.cluster.packing import pack
from bench.contract import BenchError

COMMIT = {"commit": "c" * 40, "dirty": True}


@pytest.fixture
def clone(tmp_path):
    root = tmp_path / "clone"
    for name, text in {
        "bench/a.py": "a = 1\n",
        "results/laptop/t.jsonl": "{}\n",
        "data/big.bin": "x" * 1000,
        ".gitignore": "data/\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    return root


def names(packed):
    with zipfile.ZipFile(packed.path) as found:
        return {n: found.read(n).decode() for n in found.namelist()}


def test_tracked_files_go_as_they_are_on_disk(clone, tmp_path):
    (clone / "bench" / "a.py").write_text("a = 2\n")
    (clone / "bench" / "forgotten.py").write_text("")
    (clone / "results" / "laptop" / "t.jsonl").unlink()
    packed = pack(clone, [], tmp_path / "x.zip", COMMIT)
    found = names(packed)
    assert found.pop("launched/commit.json") == json.dumps(COMMIT, sort_keys=True)
    assert found == {".gitignore": "data/\n", "bench/a.py": "a = 2\n"}
    assert packed.untracked == ["bench/forgotten.py"]


def test_named_files_come_along_wherever_they_lie(clone, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text("one")
    (tmp_path / "mine.py").write_text("two")
    own = clone / "bench" / "new.py"
    own.write_text("three")
    monkeypatch.chdir(tmp_path)
    given = ["elsewhere/mine.py", str(tmp_path / "mine.py"), str(own)]
    packed = pack(clone, given, tmp_path / "x.zip", COMMIT)
    assert packed.places == dict(
        zip(given, ["launched/0/mine.py", "launched/1/mine.py", "bench/new.py"], strict=True)
    )
    found = names(packed)
    assert [found[packed.places[g]] for g in given] == ["one", "two", "three"]
    assert packed.untracked == [], "a file of ours that was named is sent"


def test_equal_files_give_equal_bytes(clone, tmp_path):
    first = pack(clone, [], tmp_path / "1.zip", COMMIT).path.read_bytes()
    (clone / "bench" / "a.py").touch()
    assert pack(clone, [], tmp_path / "2.zip", COMMIT).path.read_bytes() == first


def test_too_much_is_refused_with_the_five_largest(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LIMIT_MB", 0.001)
    for i in range(7):
        (clone / f"large{i}.bin").write_bytes(bytes((i * 7 + j * j) % 251 for j in range(100 * (i + 1))))
    subprocess.run(["git", "-C", clone, "add", "."], check=True)
    with pytest.raises(BenchError) as e:
        pack(clone, [], tmp_path / "x.zip", COMMIT)
    said = str(e.value)
    assert [n for n in range(7) if f"large{n}.bin (" in said] == [2, 3, 4, 5, 6]
    assert said.index("large6.bin") < said.index("large2.bin")
    assert "--image" in said


def test_what_cannot_be_packed_is_told(clone, tmp_path):
    with pytest.raises(BenchError, match="no clone with git"):
        pack(tmp_path, [], tmp_path / "x.zip", COMMIT)
    with pytest.raises(BenchError, match=r"gone\.py: no such file"):
        pack(clone, [str(tmp_path / "gone.py")], tmp_path / "x.zip", COMMIT)
