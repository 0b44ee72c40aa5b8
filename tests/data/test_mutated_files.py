"""Files as they are after an accident: whatever happened to them, the same content or a named refusal."""

from __future__ import annotations

import re
import shutil

import brought_files as files
import ctr_reference as reference
import image_reference as reference_images
import numpy as np
import pytest
import rating_reference as ratings
from hypothesis import given
from hypothesis import strategies as st
from mutations import EDITS, OF_BYTES, edited, few, mutated

from bench.contract import BenchError
from bench.data.brought import entries, fields, images, tables
from bench.data.brought.tables import Asked
from bench.data.catalog import CATALOG
from bench.data.images import class_layouts, fmow
from bench.data.preparing import silent
from bench.data.tables import ctr_prepare, ctr_text
from bench.data.tables.ctr_logs import LAYOUTS


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def added_whole_or_refused(path, found, add):
    """What ``add`` finds is all that there was, or it refuses the data by their place."""
    try:
        made, _ = add()
    except BenchError as e:
        said = str(e)
        assert str(path) in said
    else:
        assert made.found.startswith(found)


@pytest.mark.parametrize("name", ["criteo", "avazu"])
@given(edits=EDITS)
def test_a_mutated_click_log_has_a_row_a_line_or_is_refused(here, name, edits):
    pytest.importorskip("pyarrow")
    raw = reference.write(here / "train", name, 12)
    data = edited(raw.read_bytes(), edits)
    raw.write_bytes(data)
    work = here / "work"
    work.mkdir(exist_ok=True)
    try:
        ctr_text.check_whole(raw)
        ctr_text.check_header(raw, LAYOUTS[name])
        _, clicks, rows = ctr_prepare._Job(name, raw, work, silent).read()
    except BenchError as e:
        said = str(e)
        assert said.startswith(str(raw))
        return
    lines = [x for x in re.split(rb"\r\n|\n|\r", data) if x]
    assert rows == len(lines) - LAYOUTS[name].header
    assert 0 <= clicks <= rows


@pytest.mark.parametrize("file", ["rgb_metadata.csv", "country_code_mapping.csv"])
@given(edits=EDITS)
def test_a_mutated_table_of_fmow_lists_images_that_are_there_or_is_refused(here, file, edits):
    folder = CATALOG["fmow"].folder
    if not folder.exists():
        ratings.satellites()
        (here / "whole").write_bytes((folder / file).read_bytes())
    (folder / file).write_bytes(edited((here / "whole").read_bytes(), edits))
    try:
        images = fmow.scan("fmow")
    except BenchError as e:
        said = str(e)
        assert said.startswith("fmow: ") or str(folder) in said
    else:
        assert all(path.is_file() for path in images.paths())


@given(edits=EDITS)
def test_a_mutated_list_of_food101_lists_all_images_or_is_refused(here, edits):
    folder = CATALOG["food101"].folder
    lists = {"train": range(4), "test": range(4, 6)}
    names = {part: [f"{c}/{i}" for c in ("pie", "ramen") for i in of] for part, of in lists.items()}
    if not folder.exists():
        (folder / "meta").mkdir(parents=True)
        for part, mine in names.items():
            (folder / "meta" / f"{part}.txt").write_text("\n".join(mine) + "\n")
            for name in mine:
                reference_images.picture(folder / "images" / f"{name}.jpg")
    whole = "\n".join(names["train"]).encode() + b"\n"
    (folder / "meta" / "train.txt").write_bytes(edited(whole, edits))
    try:
        images = class_layouts.LAYOUTS["food101"].scan("food101", silent)
    except BenchError as e:
        said = str(e)
        assert str(folder) in said
    else:
        assert sorted(images.files) == sorted(f"images/{n}.jpg" for of in names.values() for n in of)


@given(edits=EDITS)
def test_a_mutated_table_has_a_row_a_line_or_is_refused(here, edits):
    file, whole = here / "ads.csv", here / "whole.csv"
    data = edited((whole if whole.exists() else files.table(whole, rows=60)).read_bytes(), edits)
    file.write_bytes(data)
    try:
        made, _ = tables.add("ads", file, Asked(label="clicked"), terms="")
    except BenchError as e:
        said = str(e)
        assert str(file) in said
        return
    if b'"' not in data:  # in quotes a line break is a part of a value
        rows = [x for x in re.split("\r\n|\n|\r", data.decode("utf-8-sig")) if x]
        assert made.found.startswith(f"{len(rows) - 1} rows")


@given(edits=EDITS)
def test_a_table_that_was_added_is_the_same_or_refused(here, edits):
    file = here / "ads.csv"
    if not file.exists():
        entries.write(tables.add("ads", files.table(file, rows=200), Asked(label="clicked"), terms="")[0])
        (here / "whole").write_bytes(file.read_bytes())
    whole = (here / "whole").read_bytes()
    file.write_bytes(data := edited(whole, edits))
    try:
        found = tables.read("ads")
    except BenchError as e:
        said = str(e)
        assert said.startswith("ads: ")
        assert data != whole
    else:
        assert data == whole
        assert len(found.label) == 200


@few
@given(edits=EDITS)
def test_fields_that_are_mutated_are_added_with_all_frames_or_refused(here, edits):
    pytest.importorskip("h5netcdf")
    file = here / "warm.nc"
    if not (here / "whole.nc").exists():
        files.field(here / "whole.nc", frames=80, side=(16, 16))
    file.write_bytes(edited((here / "whole.nc").read_bytes(), edits))
    added_whole_or_refused(file, "80 x 16 x 16", lambda: fields.add("warm", file, (), terms=""))


@given(harm=OF_BYTES)
def test_a_mutated_table_of_parquet_has_all_rows_or_is_refused(here, harm):
    pq = pytest.importorskip("pyarrow.parquet")
    csv = pytest.importorskip("pyarrow.csv")
    file, whole = here / "ads.parquet", here / "whole.parquet"
    if not whole.exists():
        pq.write_table(csv.read_csv(files.table(here / "ads.csv", rows=60)), whole)
    data, _ = mutated(whole.read_bytes(), harm)
    file.write_bytes(data)
    added_whole_or_refused(file, "60 rows", lambda: tables.add("ads", file, Asked(label="clicked"), terms=""))


@few
@given(which=st.integers(0, 99), harm=st.one_of(st.just(("gone", None)), OF_BYTES))
def test_fields_of_zarr_that_are_mutated_are_added_with_all_frames_or_refused(here, which, harm):
    pytest.importorskip("zarr")
    store, whole = here / "warm.zarr", here / "whole.zarr"
    if not whole.exists():
        files.field(whole, frames=80, side=(16, 16))
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    every = sorted(p for p in store.rglob("*") if p.is_file())
    chosen = every[which % len(every)]
    chosen.unlink() if harm[0] == "gone" else chosen.write_bytes(mutated(chosen.read_bytes(), harm)[0])
    added_whole_or_refused(store, "80 x 16 x 16", lambda: fields.add("warm", store, (), terms=""))


@given(which=st.integers(0, 99), harm=st.one_of(st.just(("copied", None)), OF_BYTES))
def test_mutated_pictures_are_all_added_or_one_is_refused_by_name(here, which, harm):
    folder = here / "pics"
    if not folder.exists():
        files.pictures(folder, each=3, domains=())
    every = sorted(folder.rglob("*.png"))
    chosen, before = every[which % len(every)], {p: p.read_bytes() for p in every}
    data = before[every[0]] if harm[0] == "copied" else mutated(before[chosen], harm)[0]
    chosen.write_bytes(data)
    try:
        made, _ = images.add("mine", folder, (), seed=0, prompt="", network="laptop", terms="")
    except BenchError as e:
        said = str(e)
        assert chosen.parent.name in said  # its class, of which too few are left, or its path
    else:
        assert made.found.startswith("6 pictures")
    finally:
        chosen.write_bytes(before[chosen])


def test_fields_that_changed_after_they_were_added_are_refused(here):
    pytest.importorskip("h5netcdf")
    file = files.field(here / "warm.nc", frames=80, side=(16, 16))
    entries.write(fields.add("warm", file, (), terms="")[0])
    assert fields.read("warm").sizes["time"] == 80
    data = file.read_bytes()
    at = data.index(np.float32(280 + np.sin(0) + 1).tobytes())
    file.write_bytes(data[:at] + np.float32(290).tobytes() + data[at + 4 :])
    with pytest.raises(BenchError, match="is not what was added"):
        fields.read("warm")
