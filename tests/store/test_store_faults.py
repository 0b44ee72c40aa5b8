"""What disks and processes do to a store."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.store.files import StoreError
from bench.store.records import Store
from bench.store.segments import write_segment

HERE = Path(__file__).parent

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import make_record
from bench.store.records import Store
store, first, count = Store.open(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for i in range(first, first + count):
    store.write(make_record(i))
    print(i, flush=True)
    if i % 7 == 0:
        store.seal(int(sys.argv[5]))
"""


def writer(store: Store, first: int, count: int, seal: int = 1) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(HERE), store.url, str(first), str(count), str(seal)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for a dozen records."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not made or made.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_and_every_cell_has_one_record_after_space_returns(small_disk, record):
    store = Store.open(small_disk / "store")
    filler = small_disk / "filler"
    wanted = [record(i) for i in range(8)]
    store.write(wanted[0])
    filler.write_bytes(b"x" * 40_000)
    said = []
    for r in wanted[1:]:
        try:
            store.write(r)
        except StoreError as error:
            said.append(str(error))
    assert said
    assert all("stays new" in s and "No space left" in s and "flights" in s for s in said)
    with pytest.raises(StoreError):
        store.seal(1)
    done = set(Store.open(store.url).summaries())
    assert set(store.summaries()) == done
    assert 0 < len(done) < 8
    filler.unlink()
    again = Store.open(store.url)
    for r in wanted:
        if r.key not in again.summaries():
            again.write(r)
    assert set(again.summaries()) == {r.key for r in wanted}
    assert len(again._files.names("records")) == 8
    assert again.problems == []
    assert again._files.names("tmp") == {}


def test_a_write_that_fails_leaves_nothing_behind(local, record, monkeypatch):
    local.write(record(0))

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"stays new.*No space left"):
        local.write(record(1))
    monkeypatch.undo()
    assert set(local.summaries()) == set(Store.open(local.url).summaries()) == {record(0).key}
    assert local._files.names("tmp") == {}


def test_a_place_that_cannot_be_written_is_said(tmp_path, record):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "records").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="stays new"):
        Store.open(tmp_path / "store").write(record())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_read_and_says_so(local, record):
    local.write(record(0))
    local._files.write("records/torn.json", b"{")
    root = Path(local.url)
    for folder in (root, root / "records"):
        folder.chmod(0o555)
    seen = Store.open(local.url)
    assert len(seen.summaries()) == 1
    assert "cannot be moved" in seen.problems[0]
    with pytest.raises(StoreError, match="stays new"):
        seen.write(record(1))


def test_torn_files_that_cannot_be_moved_are_left_and_said_once(local, record, monkeypatch):
    local.write(record(0))
    local._files.write("records/torn.json", b"{")
    write_segment(local._files, 1, [b"{"])

    def denied(path, to):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(local._files, "move", denied)
    for _ in range(2):
        assert set(local.summaries()) == {record(0).key}
        assert len(local.problems) == 2
        assert all("cannot be moved to aside/" in p for p in local.problems)


def test_killing_a_writer_leaves_a_readable_store(local):
    process = writer(local, 0, 100_000)
    said = [process.stdout.readline() for _ in range(25)]
    process.send_signal(signal.SIGKILL)
    rest = process.communicate()[0].split("\n")
    written = [int(x) for x in [*said, *rest[:-1]]]
    seen = Store.open(local.url)
    heads = seen.summaries()
    assert len(written) <= len(heads) <= len(written) + 1
    assert seen.problems == []
    assert all(seen.read(k) is not None for k in heads)


@pytest.fixture
def twice(local, record):
    """A store that was read while another process compacted it: each record lies in a segment that counts
    and in one of lower rank, and the first of them is removed now."""
    reader = Store.open(local.url)
    wanted = {record(i).key for i in range(4)}
    for i in range(4):
        local.write(record(i))
    local.seal(1)
    (name,) = local._files.names("segments")
    lines = local._files.read(f"segments/{name}").splitlines()
    write_segment(local._files, 0, lines)
    assert set(reader.summaries()) == wanted
    local._files.remove([f"segments/{name}"])
    return reader, wanted


def test_a_record_whose_segment_goes_while_another_file_vanishes_is_found_again(
    twice, local, record, monkeypatch
):
    reader, wanted = twice
    local.write(record(4))
    read_many = reader._files.read_many

    def sealed_meanwhile(paths):
        monkeypatch.setattr(reader._files, "read_many", read_many)
        return ((path, None) for path in paths)

    monkeypatch.setattr(reader._files, "read_many", sealed_meanwhile)
    assert set(reader.summaries()) == wanted | {record(4).key}


def test_compaction_drops_no_record_for_one_that_it_does_not_copy_itself(local, record, monkeypatch):
    """What counts for this process may lie in a segment that a second process is folding away, because what
    counts for that one lies here."""
    for i in range(20):
        local.write(record(i))
        if i < 15:
            local.seal(1)
    wanted = set(local.summaries())
    refresh = local._refresh

    def another_compacts_first():
        for name in local._files.names("segments"):
            write_segment(local._files, 999_999, local._files.read(f"segments/{name}").splitlines())
        refresh()

    monkeypatch.setattr(local, "_refresh", another_compacts_first)
    local.seal(1)
    monkeypatch.undo()
    names = local._files.names("segments")
    theirs = [n for n in names if n.startswith("999999")]
    assert len(theirs) == 16
    assert len(names) == 17
    local._files.remove([f"segments/{n}" for n in theirs])
    assert set(Store.open(local.url).summaries()) == wanted


def test_processes_write_and_seal_at_once_and_lose_nothing(local, record):
    processes = [writer(local, start, 80) for start in (0, 40, 80, 120)]  # neighbours write forty cells both
    deadline = time.monotonic() + 60
    while any(p.poll() is None for p in processes) and time.monotonic() < deadline:
        seen = set(local.summaries())
        assert all(local.read(k) is not None for k in list(seen)[:5])
        local.seal(10)
        assert seen <= set(local.summaries())
    for p in processes:
        p.communicate()
        assert p.returncode == 0
    wanted = {record(i).key for i in range(200)}
    assert set(local.summaries()) == wanted
    fresh = Store.open(local.url)
    assert set(fresh.summaries()) == wanted
    assert local.problems == fresh.problems == []
    fresh.seal(1)
    assert set(Store.open(local.url).summaries()) == wanted
