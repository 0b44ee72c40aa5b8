"""A file is known by its content: same bytes under another time, name or folder are the same data."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from bench import file_digest as module
from bench.file_digest import content, file_digest, read_digest

BYTES, OTHER = b"weights of a network", b"weights of another..."[: len(b"weights of a network")]
SHA256 = hashlib.sha256(BYTES).hexdigest()
OLD = time.time() - 1_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of one's own, and nothing remembered."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_KNOWN", {})
    return tmp_path / "cache" / "digests"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "here" / "net.pt"
    path.parent.mkdir()
    path.write_bytes(BYTES)
    os.utime(path, (OLD, OLD))
    return path


def forget():
    module._KNOWN.clear()


def entry(path):
    return path.with_name(f".{path.name}.sha256.json")


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read."""
    names, real = [], module._read
    monkeypatch.setattr(module, "_read", lambda path: names.append(path.name) or real(path))
    return names


def test_a_file_is_read_once(file, read):
    for _ in range(3):
        assert file_digest(file) == SHA256
        forget()
    assert read == ["net.pt"]
    assert json.loads(entry(file).read_text())["sha256"] == SHA256
    assert sorted(os.listdir(file.parent)) == sorted([entry(file).name, "net.pt"])


def test_other_bytes_of_the_same_size_are_seen_by_their_time(file):
    file_digest(file)
    file.write_bytes(OTHER)
    os.utime(file, (OLD + 10, OLD + 10))
    assert file_digest(file) == hashlib.sha256(OTHER).hexdigest()


@pytest.mark.parametrize("ahead", [0, 1, -1])
def test_a_file_that_changed_just_now_is_not_trusted(file, read, ahead):
    """Two changes within one tick of a file system's clock leave the same size and time."""
    now = time.time() + ahead
    os.utime(file, (now, now))
    for data in (BYTES, OTHER):
        file.write_bytes(data)
        os.utime(file, (now, now))
        assert file_digest(file) == hashlib.sha256(data).hexdigest()
    assert not entry(file).exists()


@pytest.mark.parametrize(
    "said",
    [
        b"", b"{", b"[]", b"null", b'{"sha256": 5}', b'{"sha256": "zz"}',
        json.dumps({"sha256": "0" * 64}).encode(),
        json.dumps({"size": 1, "mtime_ns": 1, "sha256": "0" * 64}).encode(), b"\xff\xfe",
    ],
)  # fmt: skip
def test_a_torn_or_foreign_entry_is_replaced(file, said):
    entry(file).write_bytes(said)
    assert file_digest(file) == SHA256
    assert json.loads(entry(file).read_text())["sha256"] == SHA256


def test_an_entry_of_another_file_is_not_believed(file, tmp_path):
    file_digest(file)
    copy = tmp_path / "there" / file.name
    shutil.copytree(file.parent, copy.parent)  # with the entry
    copy.write_bytes(OTHER)
    os.utime(copy, (OLD + 5, OLD + 5))
    assert file_digest(copy) == hashlib.sha256(OTHER).hexdigest()


def test_a_folder_that_cannot_be_written_has_its_digests_in_the_users_cache(file, cache, monkeypatch, read):
    real = module.tempfile.mkstemp

    def refused(prefix, dir):
        if dir == file.parent:
            raise PermissionError(13, "denied")  # root may write anywhere: permissions would not refuse it
        return real(prefix=prefix, dir=dir)

    monkeypatch.setattr(module.tempfile, "mkstemp", refused)
    for _ in range(2):
        assert file_digest(file) == SHA256
        forget()
    assert read == ["net.pt"]
    assert not entry(file).exists()
    assert len(list(cache.iterdir())) == 1


def test_where_no_digest_can_be_kept_a_large_file_says_so(file, monkeypatch, caplog):
    def refused(prefix, dir):
        raise OSError(30, "read-only")

    monkeypatch.setattr(module.tempfile, "mkstemp", refused)
    monkeypatch.setattr(module, "_LARGE", 1)
    assert file_digest(file) == SHA256
    assert "reading 0.0 GB once" in caplog.text
    assert "its digest cannot be written to" in caplog.text


def test_processes_at_once_leave_one_whole_entry(file):
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        assert set(pool.map(file_digest, [file] * 40)) == {SHA256}
    assert sorted(os.listdir(file.parent)) == sorted([file.name, entry(file).name])
    assert json.loads(entry(file).read_text())["sha256"] == SHA256


def test_a_folder_is_its_files_without_what_is_hidden(file, tmp_path):
    sub = file.parent / "vae" / "config.json"
    sub.parent.mkdir()
    sub.write_bytes(b"{}")
    before = content(file.parent)
    assert before == {"net.pt": SHA256, "vae/config.json": hashlib.sha256(b"{}").hexdigest()}
    (file.parent / ".cache").mkdir()
    (file.parent / ".cache" / "download.metadata").write_text("yesterday")
    assert content(file.parent) == before
    moved = tmp_path / ".hidden" / "moved"
    shutil.copytree(file.parent, moved)
    os.utime(moved / "net.pt", (OLD - 99, OLD - 99))
    assert content(moved) == before
    assert content(file) == SHA256


def test_of_a_file_of_a_package_no_entry_is_written_and_it_is_read_once_a_process(file, read, cache):
    assert [file_digest(file, on_disk=False) for _ in range(3)] == [SHA256] * 3
    assert read == ["net.pt"]
    assert sorted(p.name for p in file.parent.iterdir()) == ["net.pt"]
    assert not cache.exists()
    forget()
    file_digest(file, on_disk=False)
    assert read == ["net.pt"] * 2


def test_a_verification_reads_the_bytes_whatever_is_remembered(file):
    file_digest(file)
    file.write_bytes(OTHER)
    os.utime(file, (OLD, OLD))
    assert file_digest(file) == SHA256, "same size, same time: remembered"
    steps = []
    assert (
        read_digest(file, lambda done, total: steps.append((done, total)))
        == hashlib.sha256(OTHER).hexdigest()
    )
    assert steps == [(0, len(OTHER)), (len(OTHER), len(OTHER))]
