"""Fields as they are after an accident: the same number of the same frames, or a named refusal."""

from __future__ import annotations

import gzip
import random

import field_reference as reference
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from mutations import OF_BYTES, few, mutated

from bench.data.catalog import CATALOG
from bench.data.fields import arrays, frames, nimrod
from bench.errors import BenchError

pytestmark = pytest.mark.nightly  # test_paper_fields has one file of each kind of accident


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def prepared(name, path):
    """Frames of each event, and all values; or "" where the file is refused by its name."""
    try:
        manifest = CATALOG[name].open().prepare(again=True)
    except BenchError as e:
        said = str(e)
        assert str(path) in said
        return ""
    assert manifest.complete, "nothing was left out, of few files none may be"
    return manifest.counts, np.concatenate([e.to_numpy().ravel() for e in frames.read(name)])


# ------------------------------------------------------------------------------------------------- UK radar


def records():
    return [reference.sequence(4, code, day=day) for code, day in ((32, 1), (48, 2), (0, 3))]


@pytest.fixture
def radar(here, monkeypatch):
    """A file for each part, of sequences of 4 x 4 cells; the one of training."""
    pytest.importorskip("zarr")
    small = {part: (folder, 4) for part, (folder, _) in nimrod.VARIANTS.items()}
    monkeypatch.setattr(nimrod, "VARIANTS", small)
    for folder, _ in small.values():
        place = CATALOG["nimrod"].folder / folder
        place.mkdir(parents=True)
        path = place / "seq-24-00000-of-00001.tfrecord.gz"
        path.write_bytes(gzip.compress(reference.framed(*records()), mtime=0))
    return CATALOG["nimrod"].folder / small["train"][0] / path.name


@few
@given(harm=OF_BYTES)
def test_a_mutated_file_of_uk_radar(radar, harm):
    whole = gzip.compress(reference.framed(*records()), mtime=0)
    data, _ = mutated(whole, harm)
    radar.write_bytes(data)
    found = prepared("nimrod", radar)
    if found:  # gzip has a checksum
        assert found[0] == (72, 72, 72)
        radar.write_bytes(whole)
        np.testing.assert_array_equal(found[1], prepared("nimrod", radar)[1])


@few
@given(harm=OF_BYTES)
def test_a_file_of_uk_radar_that_was_mutated_before_it_was_compressed(radar, harm):
    whole = reference.framed(*records())
    data, _ = mutated(whole, harm)
    radar.write_bytes(gzip.compress(data))
    found = prepared("nimrod", radar)
    assert not found or found[0] == (72 * len(data) / len(whole), 72, 72)


SEQUENCES = {
    "nan": {"drawn": float("nan")},
    "infinite": {"drawn": float("inf")},
    "of another size": {"side": 5},
    "of another time": {"end_time_timestamp": [1 << 62]},
    "of milliseconds": {"end_time_timestamp": [1_546_307_700_000]},
    "of text": {"end_time_timestamp": b"2019-01-01"},
    "of numbers": {"radar": [1] * 24 * 16},
    "empty": {"radar": b""},
    "without a time": {"end_time_timestamp": []},
}


@pytest.mark.parametrize("what", SEQUENCES)
def test_a_sequence_of_uk_radar_of_another_edition(radar, what):
    other = reference.sequence(**({"side": 4, "code": 1} | SEQUENCES[what]))
    radar.write_bytes(gzip.compress(reference.framed(*records(), other)))
    said = r"1 of 3 files cannot be read:\n.*tfrecord\.gz: ValueError: record 3"
    with pytest.raises(BenchError, match=said):
        CATALOG["nimrod"].open().prepare()


@pytest.mark.parametrize("how", ["doubled", "copied", "a record twice", "shuffled"])
def test_sequences_of_uk_radar_that_are_there_again(radar, how):
    whole = prepared("nimrod", radar)
    of_file, copy = radar.read_bytes(), radar.with_name("seq-24-00001-of-00001.tfrecord.gz")
    if how == "doubled":
        radar.write_bytes(of_file * 2)
    elif how == "copied":
        copy.write_bytes(of_file)
    elif how == "a record twice":
        radar.write_bytes(gzip.compress(reference.framed(records()[0], *records())))
    else:
        radar.write_bytes(gzip.compress(reference.framed(*reversed(records()))))
    found = prepared("nimrod", copy if how == "copied" else radar)
    if how == "shuffled":
        assert found[0] == whole[0]
        assert sorted(found[1][~np.isnan(found[1])]) == sorted(whole[1][~np.isnan(whole[1])])
    else:
        assert not found


# ----------------------------------------------------------------------------------------------------- ERA5


@pytest.fixture
def wind(here):
    """Two years of a day each, the second of which is returned."""
    pytest.importorskip("zarr")
    pytest.importorskip("h5netcdf")
    for number in (2015, 2016):
        path = here / "era5" / f"{number}.nc"
        reference.year(path.parent, number, n=24, side=2).to_netcdf(path, engine="h5netcdf")
    (here / "whole.nc").write_bytes(path.read_bytes())
    return path


@few
@given(harm=OF_BYTES)
def test_a_mutated_year_of_era5(here, wind, harm):
    data, _ = mutated((here / "whole.nc").read_bytes(), harm)
    wind.write_bytes(data)
    found = prepared("era5", wind)
    if found:
        assert found[0] == (8,)
        assert np.isfinite(found[1]).all()


def shifted(values, hours=0, minutes=0):
    return values.assign_coords(valid_time=values["valid_time"] + np.timedelta64(60 * hours + minutes, "m"))


def spoilt(values, number):
    return values.assign(v10=values["v10"].where(values["valid_time"].dt.hour != 6, number))


YEARS = {
    "nan": (lambda v: spoilt(v, np.nan), "values are missing at 2016-03-01T00:00"),
    "infinite": (lambda v: spoilt(v, np.inf), "values are missing"),
    "doubled": (lambda v: v.isel(valid_time=[*range(24)] * 2), "do not ascend at 2016-03-01T00:00"),
    "an hour twice": (lambda v: v.isel(valid_time=[*range(24), 23]), "do not ascend at 2016-03-01T23:00"),
    "shuffled": (
        lambda v: v.isel(valid_time=random.Random(0).sample(range(24), 24)), "do not ascend at 2016-03-01T"
    ),
    "of another year": (lambda v: shifted(v, 366 * 24), "has the time 2017-03-02T00:00, expected"),
    "over New Year": (lambda v: shifted(v, 305 * 24 + 12), "has the time 2017-01-01T00:00"),
    "off the hour": (lambda v: shifted(v, minutes=30), "holds no frame that is in use"),
    "numbers for times": (lambda v: v.assign_coords(valid_time=np.arange(24)), "its times are int64"),
    "without a frame": (lambda v: v.isel(valid_time=slice(0)), "holds no frame that is in use"),
    "turned round": (lambda v: v.isel(latitude=slice(None, None, -1)), "its y are not those of"),
    "of the whole globe": (lambda v: v.isel(longitude=[0, 0, 1]), "its x are not those of"),
    "in knots": (lambda v: v.assign(u10=v["u10"].assign_attrs(units="kt")), "u10 has the unit 'kt'"),
    "with members": (lambda v: v.expand_dims(number=[0, 1]), "has the dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("what", YEARS)
def test_a_year_of_era5_of_another_edition(here, wind, what):
    pytest.importorskip("h5netcdf")
    change, said = YEARS[what]
    wind.unlink()
    change(reference.year(wind.parent, 2016, n=24, side=2)).to_netcdf(wind, engine="h5netcdf")
    with pytest.raises(BenchError, match=rf"(?s)1 of 2 files cannot be read:\n{wind}: .*{said}"):
        CATALOG["era5"].open().prepare()


def test_of_frames_within_an_hour_those_on_the_hour_are_in_use(here, wind):
    before = prepared("era5", wind)
    half = reference.year(wind.parent, 2016, n=24, side=2)
    both = xr.concat([half, shifted(half, minutes=30) + 100], "valid_time").sortby("valid_time")
    for name in both:
        both[name].attrs["units"] = "m s**-1"
    wind.unlink()
    both.to_netcdf(wind, engine="h5netcdf")
    found = prepared("era5", wind)
    assert found[0] == before[0]
    np.testing.assert_array_equal(found[1], before[1])


# --------------------------------------------------------------------------------------------------- arrays


def flow():
    return np.arange(5 * 2 * 4 * 8, dtype=np.float32).reshape(5, 2, 4, 8)


def written(here, kind):
    """The file of Moving MNIST, or one of turbulent flow: its data set, and its path."""
    name = "moving-mnist" if kind == "mnist" else "turbulent-flow"
    folder = here / name
    folder.mkdir(exist_ok=True)
    path = folder / {"mnist": "mnist_test_seq.npy", "npy": "rbc_data.npy", "pt": "rbc_data.pt"}[kind]
    if kind == "mnist":
        np.save(path, np.arange(20 * 3 * 4 * 4, dtype=np.uint16).astype(np.uint8).reshape(20, 3, 4, 4))
    elif kind == "npy":
        np.save(path, flow())
    else:
        torch = pytest.importorskip("torch")
        torch.save(torch.from_numpy(flow()), path)
    return name, path


@pytest.mark.parametrize("kind", ["mnist", "npy", "pt"])
@few
@given(harm=OF_BYTES)
def test_a_mutated_array(here, kind, harm):
    name, path = written(here, kind)
    (whole,) = arrays.read(name)
    data, _ = mutated(path.read_bytes(), harm)
    path.write_bytes(data)
    arrays._read.cache_clear()
    try:
        (found,) = arrays.read(name)
    except BenchError as e:
        said = str(e)
        assert said.startswith(str(path))
        assert "weights_only" not in said, "no advice of torch's to execute what is in a file"
    else:
        assert found.shape == whole.shape
        assert found.attrs == whole.attrs
        assert np.isfinite(found.to_numpy()).all()


#: What may stand in such a file instead.
OTHERS = {
    "empty": lambda v: v[:0],
    "of no sequence": lambda v: v[:, :0],
    "of one component": lambda v: v[:, 0],
    "with a further axis": lambda v: v[..., None],
    "of text": lambda v: v.astype(str),
    "of objects": lambda v: v.astype(object),
    "complex": lambda v: v + 1j,
    "of whole numbers": lambda v: v.astype(np.int64),
    "of structures": lambda v: np.zeros(3, [("a", "f4"), ("b", "u1")]),
    "of one number": lambda v: np.float32(1),
    "masked": lambda v: np.ma.masked_less(v.astype(np.float64), 3).filled(np.nan),
}


@pytest.mark.parametrize("kind", ["mnist", "npy"])
@few
@given(what=st.sampled_from(sorted(OTHERS)))
def test_an_array_of_another_form(here, kind, what):
    name, path = written(here, kind)
    np.save(path, OTHERS[what](np.load(path)), allow_pickle=True)
    arrays._read.cache_clear()
    with pytest.raises(BenchError) as e:
        arrays.read(name)
    assert str(e.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["mnist", "npy"])
def test_several_arrays_in_one_file_are_none(here, kind):
    name, path = written(here, kind)
    values = np.load(path)
    with open(path, "wb") as file:
        np.savez(file, values)
    arrays._read.cache_clear()
    with pytest.raises(BenchError, match="holds a NpzFile, expected one array"):
        arrays.read(name)


def test_what_torch_did_not_write_is_refused_without_its_advice(here):
    name, path = written(here, "pt")
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    for data in (b"", pointer, b"<!doctype html>", b"\x80\x02cos\nsystem\n."):
        path.write_bytes(data)
        arrays._read.cache_clear()
        with pytest.raises(BenchError, match=r"rbc_data\.pt: cannot be read: ") as e:
            arrays.read(name)
        assert "weights_only" not in str(e.value)
