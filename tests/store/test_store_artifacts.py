from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.contract import BenchError, Stage, Units, digest
from bench.store.artifacts import artifact_name, pack_units, unpack_units
from bench.store.files import RemoteFiles, StoreError
from bench.store.records import Store


def build(ctx) -> None:
    """A stage's function; only its name matters here."""


ONE = Stage(name="pretrain", build=build, params={"size": 3})
THREE = Stage(name="bank", build=build, shards=3)


def folder(tmp_path: Path, text: str = "weights", name: str = "out") -> Path:
    out = tmp_path / name
    (out / "sub").mkdir(parents=True)
    (out / "a.bin").write_text(text)
    (out / "sub" / "b.bin").write_text(text * 2)
    return out


def inside(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {"manifest.json"}


# ---------------------------------------------------------------------------------------------------- bytes


def test_bytes_are_kept_once_under_their_digest(store):
    name = store.artifacts.put(b"hello", "bin")
    assert name == "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e.bin"
    assert store.artifacts.put(b"hello", "bin") == name
    assert store.artifacts.get(name) == b"hello"
    assert Store.open(store.url).artifacts.get(name) == b"hello"


def test_damaged_and_absent_bytes_are_said(store):
    name = store.artifacts.put(b"hello", "bin")
    path = store.artifacts._path(name)
    store._files.write(path, b"jello")
    with pytest.raises(BenchError, match="damaged"):
        store.artifacts.get(name)
    store._files.write(path, b"hel")
    assert store.artifacts.put(b"hello", "bin") == name  # one cut short is mended
    assert store.artifacts.get(name) == b"hello"
    with pytest.raises(BenchError, match="no artifact"):
        store.artifacts.get(artifact_name(b"other", "bin"))


@pytest.mark.parametrize(
    "name", ["../../x", "sha256-00/../x.bin", "", "sha256-zz.bin", f"sha256-{'0' * 32}.b/n"]
)
def test_a_name_cannot_leave_the_store(local, name):
    with pytest.raises(BenchError, match="is not an artifact's name"):
        local.artifacts.get(name)


def test_a_suffix_cannot_leave_the_store(local):
    with pytest.raises(BenchError, match="is not an artifact's name"):
        local.artifacts.put(b"x", "../../x")


def test_units_come_back_as_fp16_with_their_ids(store):
    ids = np.array([3, 70_000, -1])
    name = store.artifacts.put_units(Units(ids=ids, values=np.array([0.1, 1.0, np.nan])))
    back = store.artifacts.units(name)
    assert back.ids.tolist() == [3, 70_000, -1]
    assert back.values.dtype == np.float64
    np.testing.assert_array_equal(back.values, np.array([np.float16(0.1), 1.0, np.nan], dtype=np.float64))


@pytest.mark.parametrize("groups", [None, np.array(["b", "a", "b"]), np.array([7, 7, 300])])
def test_units_keep_their_groups(local, groups):
    units = Units(ids=np.arange(3), values=np.ones(3), groups=groups)
    back = local.artifacts.units(local.artifacts.put_units(units)).groups
    assert (back is None) if groups is None else back.tolist() == groups.tolist()


def test_units_beyond_fp16_and_wide_ids_are_kept(local):
    ids = np.array([-1, 2**63 - 1])
    back = local.artifacts.units(local.artifacts.put_units(Units(ids=ids, values=np.array([1e6, 0.5]))))
    assert back.values.tolist() == [1e6, 0.5]
    assert back.ids.tolist() == ids.tolist()
    texts = Units(ids=np.array(["é1", "b"], dtype=object), values=np.array([1.0, 2.0]))
    assert unpack_units(pack_units(texts)).ids.tolist() == ["é1", "b"]
    assert pack_units(texts) == pack_units(texts)


@pytest.mark.parametrize(
    "units",
    [
        Units(ids=np.array([1, 1]), values=np.array([1.0, 2.0])),
        Units(ids=np.array([1]), values=np.array([1.0, 2.0])),
        Units(ids=np.array([1.5, 2.5]), values=np.array([1.0, 2.0])),
        Units(ids=np.array([1, 2]), values=np.array([1.0, 2.0]), groups=np.array([1])),
        Units(ids=np.array([1, 2]), values=np.array([1.0, 2.0]), groups=np.array([0.5, 1.0])),
    ],
)
def test_units_that_cannot_be_paired_are_refused(local, units):
    with pytest.raises(BenchError, match="units"):
        local.artifacts.put_units(units)


def test_nothing_is_unpickled(local, tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array([{"a": 1}], dtype=object), values=np.zeros(1))
    name = local.artifacts.put((tmp_path / "x.npz").read_bytes(), "npz")
    with pytest.raises(BenchError, match="holds no units"):
        local.artifacts.units(name)
    with pytest.raises(BenchError, match="holds no units"):
        local.artifacts.units(local.artifacts.put(b"no zip", "npz"))


def test_a_view_is_a_small_webp(store):
    y, x = np.mgrid[:48, :64]
    picture = np.stack([x * 4, y * 5, x + y], axis=2).astype(np.uint8)
    name = store.artifacts.put_view(picture)
    back = store.artifacts.view(name)
    assert (back.shape, back.dtype) == (picture.shape, np.uint8)
    assert np.abs(back.astype(int) - picture).mean() < 4
    assert len(store.artifacts.get(name)) < picture.nbytes / 4
    for wrong in (picture.astype(float), picture[..., 0], np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(BenchError, match="view"):
            store.artifacts.put_view(wrong)
    with pytest.raises(BenchError, match="no picture"):
        store.artifacts.view(store.artifacts.put(b"x", "webp"))


# --------------------------------------------------------------------------------------------------- stages


def test_a_stage_of_one_shard(store, tmp_path):
    assert store.artifacts.stage_path(ONE) is None
    assert store.artifacts.stage_digest(ONE) is None
    made = store.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    assert store.artifacts.stage_digest(ONE) == made
    for artifacts in (store.artifacts, Store.open(store.url).artifacts):
        path = artifacts.stage_path(ONE)
        assert inside(path) == {"a.bin", "sub/b.bin"}
        assert (path / "sub" / "b.bin").read_text() == "weightsweights"
        assert artifacts.stage_path(ONE, thorough=False) == path
        assert artifacts.problems == []


def test_a_stage_of_several_shards_is_there_when_all_are(store, tmp_path):
    digests = []
    for shard in range(3):
        assert store.artifacts.stage_path(THREE) is None
        assert store.artifacts.stage_digest(THREE) is None
        digests.append(
            store.artifacts.put_stage(THREE.address, shard, folder(tmp_path, f"{shard}", f"o{shard}"))
        )
    path = store.artifacts.stage_path(THREE)
    assert [(path / str(i) / "a.bin").read_text() for i in range(3)] == ["0", "1", "2"]
    assert len({*digests, store.artifacts.stage_digest(THREE)}) == 4


def test_of_two_builds_the_first_wins(store, tmp_path):
    first = store.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "first", "o1"))
    assert store.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "second", "o2")) == first
    assert (store.artifacts.stage_path(ONE) / "a.bin").read_text() == "first"


def test_a_stale_build_gives_way_and_is_kept_aside(store, tmp_path):
    first = store.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "first", "o1"))
    again = folder(tmp_path, "first", "o2")
    assert store.artifacts.put_stage(ONE.address, 0, again, replace=True) == first
    assert not list(tmp_path.rglob("aside/*")), "the same files: nothing was replaced"
    made = store.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "second", "o3"), replace=True)
    assert made == store.artifacts.stage_digest(ONE) != first
    assert (store.artifacts.stage_path(ONE) / "a.bin").read_text() == "second"
    kept = [(old / "a.bin").read_text() for old in tmp_path.rglob("aside/*")]
    assert kept == ([] if "://" in store.url else ["first"]), "an object store keeps them beside the new ones"


def test_the_same_files_have_the_same_digest_anywhere(local, tmp_path):
    other = Store.open(tmp_path / "other")
    first = local.artifacts.put_stage(ONE.address, 0, folder(tmp_path, name="o1"))
    assert other.artifacts.put_stage(ONE.address, 0, folder(tmp_path, name="o2")) == first
    changed = Store.open(tmp_path / "third").artifacts.put_stage(ONE.address, 0, folder(tmp_path, "x", "o3"))
    assert changed != first


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "escape"])
def test_a_damaged_stage_is_set_aside_and_built_again(local, tmp_path, damage):
    local.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    path = local.artifacts.stage_path(ONE)
    if damage == "flip":
        (path / "a.bin").write_text("w3ights")
        os.utime(path / "a.bin", ns=(1, 1))
    elif damage == "cut":
        (path / "a.bin").write_text("weig")
    elif damage == "remove":
        (path / "a.bin").unlink()
    elif damage == "manifest":
        (path / "manifest.json").write_text("{")
    else:
        manifest = orjson.loads((path / "manifest.json").read_bytes())
        manifest["files"]["../../../secret"] = manifest["files"].pop("a.bin")
        manifest["digest"] = digest(manifest["files"])
        (path / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert local.artifacts.stage_path(ONE) is None
    assert len(local.artifacts.problems) == 1
    assert len(list((Path(local.url) / "aside").iterdir())) == 1
    local.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "anew"))
    assert (local.artifacts.stage_path(ONE) / "a.bin").read_text() == "anew"


def test_publishing_over_a_damaged_stage_mends_it(local, tmp_path):
    local.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    (local.artifacts.stage_path(ONE) / "a.bin").write_text("torn")
    local.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "anew"))
    assert (local.artifacts.stage_path(ONE) / "a.bin").read_text() == "anew"
    assert local._files.names("tmp") == {}


@pytest.mark.parametrize("where", ["cache", "store"])
def test_a_damaged_download_is_fetched_again_or_counts_as_absent(tmp_path, monkeypatch, where):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    store = Store.open(f"memory://{tmp_path.name}-{where}")
    made = store.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    if where == "cache":
        (store.artifacts.stage_path(ONE) / "a.bin").write_text("torn")
        assert (store.artifacts.stage_path(ONE) / "a.bin").read_text() == "weights"
        return
    store._files.write(f"stages/{ONE.address}/0/{made}/a.bin", b"torn")
    assert store.artifacts.stage_path(ONE) is None
    assert "damaged" in store.artifacts.problems[0]
    assert store.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "anew", "o2")) != made
    assert (store.artifacts.stage_path(ONE) / "a.bin").read_text() == "anew"


def test_files_of_a_stage_are_never_read_whole(store, tmp_path, monkeypatch):
    kind = type(store._files)
    for name, whole in (("read", kind.read), ("write", kind.write)):

        def checked(self, path, *how, whole=whole):
            assert not path.endswith(".bin"), f"{path} is taken into memory"
            return whole(self, path, *how)

        monkeypatch.setattr(kind, name, checked)
    store.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    there = Store.open(store.url, cache=tmp_path / "other")
    assert (there.artifacts.stage_path(ONE) / "a.bin").read_text() == "weights"
    (tmp_path / "copy").mkdir()
    there.artifacts.copy_shard(ONE.address, 0, tmp_path / "copy")
    assert inside(tmp_path / "copy") == {"a.bin", "sub/b.bin"}


def test_of_all_workers_of_a_machine_one_downloads(tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}"
    Store.open(url).artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    fetched, get = [], RemoteFiles.get

    def counted(self, path, to):
        fetched.append(path.rpartition("/")[2])
        get(self, path, to)

    monkeypatch.setattr(RemoteFiles, "get", counted)
    same = Store.open(url, cache=tmp_path / "cache")
    stores = [same, same, *(Store.open(url, cache=tmp_path / "cache") for _ in range(2))]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda s: s.artifacts.stage_path(ONE), stores))
    assert len(set(paths)) == 1
    assert sorted(fetched) == ["a.bin", "b.bin"]


def test_a_stage_that_ships_with_the_package_is_found(tmp_path, local):
    shipped = Store.open(tmp_path / "shipped")
    made = shipped.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    local.artifacts._embedded = Path(shipped.url) / "stages"
    path = local.artifacts.stage_path(ONE)
    assert path == Path(shipped.url) / "stages" / ONE.address / "0"
    assert local.artifacts.stage_digest(ONE) == made
    own = local.artifacts.put_stage(ONE.address, 0, folder(tmp_path, "own", "o2"))
    assert (local.artifacts.stage_path(ONE) / "a.bin").read_text() == "own"
    assert local.artifacts.stage_digest(ONE) == own


def test_a_damaged_shipped_stage_counts_as_absent_and_stays(tmp_path, local):
    shipped = Store.open(tmp_path / "shipped")
    shipped.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    local.artifacts._embedded = Path(shipped.url) / "stages"
    file = Path(shipped.url) / "stages" / ONE.address / "0" / "a.bin"
    file.write_text("torn")
    assert local.artifacts.stage_path(ONE) is None
    assert file.read_text() == "torn"
    assert len(local.artifacts.problems) == 1


def test_what_is_no_stage_is_refused(local, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="wrote no file"):
        local.artifacts.put_stage(ONE.address, 0, tmp_path / "empty")
    linked = folder(tmp_path)
    (linked / "link").symlink_to("/etc/hostname")
    with pytest.raises(BenchError, match="link is a link"):
        local.artifacts.put_stage(ONE.address, 0, linked)
    with pytest.raises(BenchError, match="is not a key"):
        local.artifacts.put_stage("../../x", 0, linked)


def test_a_stage_on_another_file_system_is_copied(local, tmp_path):
    if not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("no second file system")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        local.artifacts.put_stage(ONE.address, 0, folder(Path(other)))
    assert inside(local.artifacts.stage_path(ONE)) == {"a.bin", "sub/b.bin"}


def test_a_full_disk_leaves_no_half_of_a_stage(local, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left"):
        local.artifacts.put_stage(ONE.address, 0, folder(tmp_path))
    monkeypatch.undo()
    assert local.artifacts.stage_path(ONE) is None
    assert local._files.names("tmp") == {}


# ---------------------------------------------------------------------------------------------------- leases


def test_one_of_two_holds_a_lease_and_hands_it_on(store):
    other = Store.open(store.url).artifacts.lease("ab12", 60)
    with store.artifacts.lease("ab12", 60) as lease:
        assert lease.held
        assert lease.acquire()
        assert not other.acquire()
        assert other.holder()["pid"] == os.getpid()
        assert not other.renew()
    assert other.holder() is None
    assert other.acquire()
    assert not lease.renew()
    lease.release()  # no longer its own to give back
    assert other.renew()
    assert store.artifacts.lease("cd34").acquire()


def test_on_an_object_store_one_step_makes_a_lock(store):
    there = store._files.root is None
    assert store._files.create("locks/ab12.json", b"one") is there
    assert not Store.open(store.url)._files.create("locks/ab12.json", b"two")
    if there:
        assert store._files.read("locks/ab12.json") == b"one"


def taken_within(lease, seconds=30):
    """Whether a lease is had within that time by asking for it again and again."""
    until = time.monotonic() + seconds
    while not lease.acquire():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_lease_that_is_not_renewed_is_taken_over_and_its_holder_finds_out(store):
    first, second = store.artifacts.lease("ab12", 0.3), Store.open(store.url).artifacts.lease("ab12", 60)
    assert first.acquire()
    assert not second.acquire()
    assert first.acquire(), "it is renewed"
    assert taken_within(second)
    assert not first.renew()
    assert not first.held
    assert second.renew()


def test_holders_renew_while_they_work_from_one_thread(local):
    names = [f"ab{i}" for i in range(30)]
    before = threading.active_count()
    leases = [local.artifacts.lease(n, 0.6) for n in names]
    assert all(lease.hold() for lease in leases)

    def beats():
        return [orjson.loads(local._files.read(f"locks/{n}.json"))["beat"] for n in names]

    until = time.monotonic() + 60
    while min(beats()) < 5:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert all(lease.held for lease in leases)
    assert [t.name for t in threading.enumerate()].count("leases") == 1
    assert threading.active_count() - before <= 1 + 16
    for lease in leases:
        lease.release()
    assert all(local.artifacts.lease(n, 60).acquire() for n in names)


def test_given_back_leases_leave_no_file_and_no_thread(local):
    # Sweeps of other tests in this process may hold some: then the thread that renews them stays.
    others = any(t.name.startswith("leases") for t in threading.enumerate())
    for name in ("ab12", "cd34"):
        with local.artifacts.lease(name) as lease:
            assert lease.held
            assert not local.artifacts.lease(name).acquire()
            assert [*local._files.names("locks")] == [f"{name}.json"]
    assert local._files.names("locks") == {}
    assert not lease.renew()
    lease.release()
    assert local._files.names("locks") == {}
    until = time.monotonic() + 30
    while not others and any(t.name.startswith("leases") for t in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_lease_of_a_dead_process_is_free_at_once(local):
    code = (
        "import sys; from bench.store.records import Store;"
        "assert Store.open(sys.argv[1]).artifacts.lease('ab12', 600).acquire()"
    )
    subprocess.run([sys.executable, "-c", code, local.url], check=True)
    assert local.artifacts.lease("ab12", 60).acquire()


def test_a_dead_holder_whose_number_another_process_has_now_is_dead(local):
    assert local.artifacts.lease("ab12", 600).acquire()
    held = orjson.loads(local._files.read("locks/ab12.json"))
    assert not local.artifacts.lease("ab12", 60).acquire()
    local._files.write("locks/ab12.json", orjson.dumps({**held, "started": held["started"] - 1}))
    assert local.artifacts.lease("ab12", 60).acquire()


@pytest.mark.parametrize("ahead", [-7200, 7200], ids=["behind", "ahead"])
def test_the_lease_of_another_host_ends_by_this_clock_whatever_the_other_says(local, monkeypatch, ahead):
    """Also of one in another process namespace, where the same number is another process."""
    assert local.artifacts.lease("ab12", 600).acquire()
    held = orjson.loads(local._files.read("locks/ab12.json"))
    name, boot, space = held["host"].split("/")
    for other in (f"{name}-2/{boot}/{space}", f"{name}/{boot}/1"):
        there = {**held, "host": other, "pid": 2**22 + 1, "token": other}
        local._files.write("locks/ab12.json", orjson.dumps(there))
        os.utime(local._files.at("locks/ab12.json"), (time.time() + ahead,) * 2)
        assert not local.artifacts.lease("ab12", 60).acquire()
        monkeypatch.setattr("time.time", lambda now=time.time: now() + ahead)
        assert not local.artifacts.lease("ab12", 60).acquire()
        monkeypatch.undo()
        local._files.write("locks/ab12.json", orjson.dumps({**there, "seconds": 0.3}))
        assert taken_within(local.artifacts.lease("ab12", 60))


def test_a_file_system_without_locks_has_leases_all_the_same(local, monkeypatch):
    """As Lustre is mounted on many clusters."""

    def flock(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    test_one_of_two_holds_a_lease_and_hands_it_on(local)
    lease = local.artifacts.lease("ef56")
    with lease:
        assert lease.held
        assert not local.artifacts.lease("ef56").acquire()
    assert "ef56.json" not in local._files.names("locks")


HANDS_ON = """
import os, sys
from bench.store.records import Store
store, folder, mine = Store.open(sys.argv[1]), sys.argv[2], 0
while len(os.listdir(folder)) < int(sys.argv[3]):
    lease = store.artifacts.lease("ab12", 60)
    if lease.acquire():
        os.close(os.open(folder + "/held", os.O_CREAT | os.O_EXCL))  # fails if another has it too
        os.unlink(folder + "/held")
        os.close(os.open(f"{folder}/{os.getpid()}-{mine}", os.O_CREAT | os.O_EXCL))
        mine += 1
        lease.release()
"""


def test_a_lock_that_is_removed_while_others_wait_for_it_is_held_by_one(local, tmp_path):
    turns = tmp_path / "turns"
    turns.mkdir()
    argv = [sys.executable, "-c", HANDS_ON, local.url, str(turns), "400"]
    racers = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    errors = [p.communicate()[1] for p in racers]
    assert [p.returncode for p in racers] == [0, 0, 0], errors
    assert local._files.names("locks") == {}


def test_a_torn_lock_is_free(local):
    local._files.write("locks/ab12.json", b'{"host": "x", "p')
    assert local.artifacts.lease("ab12", 60).acquire()
    with pytest.raises(BenchError, match="more than 0"):
        local.artifacts.lease("ab12", 0)


RACER = """
import sys
from bench.store.records import Store
lease = Store.open(sys.argv[1]).artifacts.lease("ab12", 600)
print("ready", flush=True)
sys.stdin.readline()
print(int(lease.acquire()), flush=True)
sys.stdin.read()
"""


def test_of_processes_that_race_one_holds_the_lease(local):
    argv = [sys.executable, "-c", RACER, local.url]
    racers = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert {p.stdout.readline() for p in racers} == {"ready\n"}
    for p in racers:
        p.stdin.write("\n")
        p.stdin.flush()
    won = [int(p.stdout.readline()) for p in racers]
    for p in racers:
        p.communicate()
    assert sum(won) == 1
