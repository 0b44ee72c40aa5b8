"""Click logs in the real layout against a plain loop over lines; every way in which a file can be wrong."""

from __future__ import annotations

import fcntl
import gzip
import math
import mmap
import os
import shutil
import subprocess

import ctr_reference as reference
import numpy as np
import pytest

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.tables import ctr_logs, ctr_prepare, ctr_text

FILES = {"criteo": "train.txt", "avazu": "train"}
HEX = "0123abcd"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Every file in many pieces: blocks of text, runs, groups of parts, stretches."""
    for name, size in (("KEYS", 50), ("SUMMED", 20), ("SCATTERED", 64), ("STRETCH", 70)):
        monkeypatch.setattr(ctr_prepare, name, size)
    monkeypatch.setattr(ctr_text, "BLOCK", 4096)


def brought(data, name="criteo", n=600, seed=0):
    return reference.write(data / name / FILES[name], name, n, seed)


def lines_of(data, lines):
    path = data / "criteo" / "train.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def line(label="0", integers=("5",) * 13, hashes=(HEX,) * 26):
    return "\t".join([label, *integers, *hashes]).encode() + b"\n"


def left(data, name="criteo"):
    return sorted(p.name for p in (data / name).iterdir())


# ------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("name", ["criteo", "avazu"])
def test_as_a_loop_over_lines_does_it(data, name, tiny_blocks):
    raw = brought(data, name, 1203)
    ctr_prepare.prepare(name, partial=True)
    log = ctr_logs.read(name)
    rows, labels, sizes = reference.prepare(raw, name)
    assert log.manifest.cardinalities == tuple(sizes)
    assert max(sizes) > 20
    assert (log.manifest.rows, log.manifest.clicks) == (1203, sum(labels))
    for part, order in zip(log.parts(), reference.split(1203), strict=True):
        assert log.y[part].tolist() == [labels[i] for i in order]
        theirs = np.array([rows[i] for i in order])
        assert log.x[part].shape == theirs.shape
    theirs = np.array([rows[i] for p in reference.split(1203) for i in p])
    for field in range(theirs.shape[1]):
        # The same values share an index, whatever it is called; rare ones share 0 in both.
        pairs = set(zip(log.x[:, field].tolist(), theirs[:, field].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert all((a == 0) == (b == 0) for a, b in pairs)
        assert log.x[:, field].min() >= 0
        assert log.x[:, field].max() == sizes[field] - 1
    assert (theirs == 0).any()


def test_blocks_change_nothing(data, monkeypatch):
    brought(data)
    whole = ctr_prepare.prepare("criteo", partial=True)
    for name, size in (("KEYS", 7), ("SUMMED", 1), ("SCATTERED", 11), ("STRETCH", 13)):
        monkeypatch.setattr(ctr_prepare, name, size)
    monkeypatch.setattr(ctr_text, "BLOCK", 1000)
    assert ctr_prepare.prepare("criteo", partial=True, again=True) == whole


def test_a_value_is_kept_from_the_threshold_on(data):
    seen = [("aaaaaaa1", 10), ("aaaaaaa2", 9), ("aaaaaaa", 11), ("", 12)]
    values = [v for v, n in seen for _ in range(n)]
    lines_of(data, [line(label=str(i % 2), hashes=(v, *(HEX,) * 25)) for i, v in enumerate(values)])
    manifest = ctr_prepare.prepare("criteo", partial=True)
    assert manifest.cardinalities == (2,) * 13 + (4,) + (2,) * 25
    x = ctr_logs.read("criteo").x[:, 13]
    assert sorted(np.bincount(x).tolist()) == sorted(n for _, n in seen)
    assert np.bincount(x)[0] == 9


def test_buckets_of_integers():
    near = {int(math.exp(math.sqrt(k))) + d for k in range(1, 500) for d in (-1, 0, 1, 2)}
    values = np.array(sorted({*range(-5, 70_000), -(2**40), *(v for v in near if v < 2**32)}))
    told = [str(t) for t in ctr_text.bucket(values)]
    assert told == [reference.token(str(v)) for v in values.tolist()]
    assert ctr_text.bucket(np.array([-1, 0, 1, 2, 3, 7, 8])).tolist() == [-3, -2, -1, 0, 1, 3, 4]


@pytest.mark.parametrize("n", [10, 19, 601, 70_001])
def test_the_split_is_torchs(n, tmp_path):
    ctr_prepare._positions(n, tmp_path / "positions")
    place = np.fromfile(tmp_path / "positions", np.int32)
    order = np.empty(n, int)
    order[place] = np.arange(n)
    assert order.tolist() == [i for part in reference.split(n) for i in part]


def test_values_are_keys_one_to_one():
    import pyarrow as pa

    values = [b"", b"a", b"b", b"ab", b"ba", b"abcdefgh", b"abcdefg", b"\xff" * 8, b"\xff" * 7, b"0", b"00"]
    where = ctr_text.Where("f", 1)
    keys = ctr_text.packed(pa.array(values * 3, pa.binary()), "C1", where)
    assert len(set(keys.tolist())) == len(values)
    assert np.array_equal(keys, np.tile(keys[: len(values)], 3))
    part = pa.array([b"x", *values, b"y"], pa.binary())[1:-1]
    assert np.array_equal(ctr_text.packed(part, "C1", where), keys[: len(values)])


# -------------------------------------------------------------------------------------------- what is wrong


def bad(at: int, wrong: bytes) -> list[bytes]:
    lines = [line()] * 30
    lines[at] = wrong
    return lines


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (bad(7, line(hashes=(HEX,) * 25)), r"train.txt:8: 39 columns, expected 40 separated by '\\t'"),
        (bad(7, line(hashes=(HEX,) * 27)), r"train.txt:8: 41 columns, expected 40"),
        (bad(29, b"1\t5\t5\n"), r"train.txt:30: 3 columns, expected 40"),
        (
            bad(11, line(integers=("5",) * 12 + ("5.0",))),
            r"train.txt:12: column I13: '5.0', expected an integer",
        ),
        (bad(0, line(integers=("x",) + ("5",) * 12)), r"train.txt:1: column I1: 'x', expected an integer"),
        (bad(3, line(label="2")), r"train.txt:4: column label: '2', expected 0 or 1"),
        (bad(3, line(label="yes")), r"train.txt:4: column label: 'yes', expected 0 or 1"),
        (bad(3, line(label="")), r"train.txt:4: column label: nothing"),
        (bad(9, b"\n"), r"train.txt:10: "),
        (bad(9, line(hashes=(HEX,) * 25 + ("123456789",))), r"train.txt:10: column C26: b'123456789'"),
        (bad(9, line(hashes=("a\0",) + (HEX,) * 25)), r"train.txt:10: column C1: .*zero byte"),
        (bad(29, line()[:-1]), r"train.txt: truncated, its last line has no end"),
        (bad(29, line()[:-20]), r"train.txt: truncated"),
        ([gzip.compress(line() * 30)], r"train.txt: is compressed: unpack it first, with gunzip"),
        ([], r"train.txt: is empty"),
        ([line()] * 9, r"train.txt: 9 rows, too few"),
        ([line()] * 30, r"train.txt: 30 rows, the published data set has 45,840,617"),
        ([line()] * 31, r"train.txt: column label: all 31 rows are 0, expected some of 0 and some of 1"),
        ([line(label="1")] * 31, r"train.txt: column label: all 31 rows are 1, expected"),
        ([line(label="1")] + [line()] * 39, r"train.txt: column label: all \d+ rows of its \w+ part are 0"),
        ([b"no line ends here " * 2000, b"\n"], r"train.txt"),
    ],
)
def test_a_wrong_file_is_named_with_its_line_and_nothing_is_left(data, monkeypatch, lines, said):
    monkeypatch.setattr(ctr_text, "BLOCK", 1024)  # some lines of the file are in later blocks
    lines_of(data, lines)
    with pytest.raises(BenchError, match=said):
        ctr_prepare.prepare("criteo", partial="30 rows" not in said)
    assert left(data) == ["train.txt"]
    assert "prepare" in ctr_logs.missing("criteo")


def test_lines_of_a_file_with_a_header_are_counted_from_it(data):
    path = brought(data, "avazu", 30)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:12], lines[12].replace(",", ",,", 1), *lines[13:]]))
    with pytest.raises(BenchError, match=r"train:13: 25 columns, expected 24 separated by ','"):
        ctr_prepare.prepare("avazu", partial=True)
    path.write_text("".join([*lines[:12], ",".join(["1", "7", *lines[12].split(",")[2:]]), *lines[13:]]))
    with pytest.raises(BenchError, match=r"train:13: column click: '7', expected 0 or 1"):
        ctr_prepare.prepare("avazu", partial=True)
    path.write_text("".join([lines[0].replace("hour", "day"), *lines[1:]]))
    with pytest.raises(BenchError, match=r"train:1: column 'day' in the header, expected 'hour'"):
        ctr_prepare.prepare("avazu", partial=True)
    path.write_text("".join(lines[1:]))
    with pytest.raises(BenchError, match=r"train:1: .* expected 'id'"):
        ctr_prepare.prepare("avazu", partial=True)


@pytest.mark.parametrize("name", ["criteo", "avazu"])
def test_a_byte_order_mark_is_no_content(data, name):
    raw = brought(data, name, 600)
    plain = ctr_prepare.prepare(name, partial=True)
    raw.write_bytes(b"\xef\xbb\xbf" + raw.read_bytes())
    marked = ctr_prepare.prepare(name, partial=True, again=True)
    assert (marked.x_sha256, marked.y_sha256, marked.rows) == (plain.x_sha256, plain.y_sha256, plain.rows)


def test_a_missing_file_says_where_it_was_looked_for(data):
    with pytest.raises(BenchError) as refused:
        ctr_prepare.prepare("criteo")
    for said in (ctr_logs.missing("criteo"), str(refused.value)):
        assert f"no file train.txt in {data / 'criteo'} ($BENCH_DATA/criteo)" in said
        assert "Kaggle" in said
    assert "bench data prepare criteo" in ctr_logs.missing("criteo")
    (data / "avazu").mkdir(parents=True)
    (data / "avazu" / "train.gz").write_bytes(b"")
    assert "but train.gz: unpack" in ctr_logs.missing("avazu")


def test_too_little_space_is_seen_before_the_work(data, monkeypatch):
    brought(data)
    usage = shutil.disk_usage(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(BenchError, match=r"preparing train.txt takes about .* GiB, .* GiB are free"):
        ctr_prepare.prepare("criteo", partial=True)
    assert left(data) == ["train.txt"]


def test_a_disk_that_fills_up_leaves_nothing_and_later_it_works(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setenv("BENCH_DATA", str(disk))
        monkeypatch.setattr(ctr_prepare, "_check_space", lambda *_: None)
        brought(disk)
        with pytest.raises(
            BenchError, match=r"criteo: not prepared: .*No space left.*nothing half-made is left"
        ):
            ctr_prepare.prepare("criteo", partial=True)
        assert left(disk) == ["train.txt"]
        subprocess.run(["mount", "-o", "remount,size=3m", str(disk)], check=True)
        assert ctr_prepare.prepare("criteo", partial=True).rows == 600
    finally:
        subprocess.run(["umount", str(disk)], check=False)


# ------------------------------------------------------------------------------------------- once, and whole


@pytest.mark.parametrize("at", ["reading", "indexing", "ordering"])
def test_an_interruption_leaves_nothing_and_later_it_starts_again(data, at):
    brought(data)

    def interrupt(what, done, total):
        assert 0 <= done <= total
        if what == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ctr_prepare.prepare("criteo", partial=True, progress=interrupt)
    assert left(data) == ["train.txt"]
    # A killed process could not clean up after itself.
    (data / "criteo" / "preparing" / "prepared").mkdir(parents=True)
    (data / "criteo" / "preparing" / "prepared" / "x.npy").write_bytes(b"half")
    ctr_prepare.prepare("criteo", partial=True)
    assert left(data) == ["prepared", "train.txt"]
    assert left(data, "criteo/prepared") == ["manifest.json", "x.npy", "y.npy"]


def test_an_interruption_keeps_what_was_prepared_before(data):
    brought(data)
    before = ctr_prepare.prepare("criteo", partial=True)

    def interrupt(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ctr_prepare.prepare("criteo", partial=True, again=True, progress=interrupt)
    assert ctr_prepare.verify("criteo") == before


def test_progress_reaches_its_end(data, tiny_blocks):
    brought(data)
    told = {}
    ctr_prepare.prepare(
        "criteo", partial=True, progress=lambda what, a, b: told.setdefault(what, []).append((a, b))
    )
    assert list(told) == ["reading", "indexing", "ordering"]
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]
        assert len(steps) > 5


def test_two_processes_do_not_prepare_at_once(data):
    brought(data)
    fd = os.open(data / "criteo", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(BenchError, match="another process is preparing it"):
            ctr_prepare.prepare("criteo", partial=True)
    finally:
        os.close(fd)
    ctr_prepare.prepare("criteo", partial=True)


def test_done_once_and_again_when_the_file_or_the_rules_change(data, monkeypatch):
    brought(data)
    first = ctr_prepare.prepare("criteo", partial=True)
    print_before = ctr_logs.fingerprint("criteo")
    assert print_before.endswith("-part")

    def never(*_):
        raise AssertionError("prepared twice")

    with monkeypatch.context() as m:
        m.setattr(ctr_prepare._Job, "run", never)
        assert ctr_prepare.prepare("criteo", partial=True) == first
    brought(data, n=700)
    assert "when it was prepared: bench data prepare criteo" in ctr_logs.missing("criteo")
    assert ctr_prepare.prepare("criteo", partial=True).rows == 700
    assert ctr_logs.fingerprint("criteo") != print_before
    assert ctr_logs.missing("criteo") is None
    (data / "criteo" / "train.txt").unlink()  # the prepared form is enough
    assert ctr_logs.missing("criteo") is None
    monkeypatch.setattr(ctr_logs, "VERSION", ctr_logs.VERSION + 1)
    assert "prepared under rules 1, today's are 2" in ctr_logs.missing("criteo")


def test_a_whole_data_set_is_known_as_one(data, monkeypatch):
    import dataclasses

    brought(data)
    whole = dataclasses.replace(CATALOG["criteo"].expected, rows=600)
    monkeypatch.setattr(
        ctr_prepare, "CATALOG", {"criteo": dataclasses.replace(CATALOG["criteo"], expected=whole)}
    )
    assert ctr_prepare.prepare("criteo").complete
    assert len(ctr_logs.fingerprint("criteo")) == 16


# -------------------------------------------------------------------------------------------------- as read


def test_what_is_read_cannot_spoil_what_was_prepared(data):
    brought(data)
    manifest = ctr_prepare.prepare("criteo", partial=True)
    log = ctr_logs.read("criteo")
    assert isinstance(log.x.base, mmap.mmap), "mapped, not loaded"
    assert (log.x.dtype, log.y.dtype) == (np.int32, np.uint8)
    log.x[:] = 7
    assert ctr_prepare.verify("criteo") == manifest
    assert (ctr_logs.read("criteo").x != 7).any()


def test_parts_thinned_to_one_share(data):
    brought(data)
    ctr_prepare.prepare("criteo", partial=True)
    log = ctr_logs.read("criteo")
    assert (
        log.parts() == log.parts(480) == log.parts(999) == (slice(0, 480), slice(480, 540), slice(540, 600))
    )
    assert log.parts(48) == (slice(0, 48), slice(480, 486), slice(540, 546))
    assert log.parts(1) == (slice(0, 2), slice(480, 482), slice(540, 542))


def test_damage_is_found(data):
    brought(data)
    ctr_prepare.prepare("criteo", partial=True)
    x, manifest = (data / "criteo" / "prepared" / n for n in ("x.npy", "manifest.json"))
    good = x.read_bytes()
    x.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BenchError, match=r"x.npy: its bytes are not those .*--again"):
        ctr_prepare.verify("criteo")
    x.write_bytes(good[:1000])
    with pytest.raises(BenchError, match=r"x.npy: damaged .*--again"):
        ctr_logs.read("criteo")
    np.save(x, np.zeros((600, 39)))
    with pytest.raises(BenchError, match=r"x.npy: holds float64 .* its manifest says int32 \(600, 39\)"):
        ctr_logs.read("criteo")
    manifest.write_text("{")
    assert "manifest.json: no manifest of this version" in ctr_logs.missing("criteo")
    ctr_prepare.prepare("criteo", partial=True)
    assert ctr_prepare.verify("criteo").rows == 600
