"""Fields of the paper's kinds, each in tiny files of the real layout that are made here."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from field_reference import example, framed, message, sequence, year

from bench.data.catalog import CATALOG
from bench.data.fields import frames, nimrod, tfrecord
from bench.errors import BenchError


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


# ---------------------------------------------------------------------------------------- TFRecord, UK radar


def uk(data, monkeypatch, side=8, **parts):
    """The publisher's folders, with sequences of ``side`` x ``side`` cells; a file a list of records."""
    pytest.importorskip("zarr")
    small = {part: (folder, side) for part, (folder, _) in nimrod.VARIANTS.items()}
    monkeypatch.setattr(nimrod, "VARIANTS", small)
    for part, (folder, _) in small.items():
        place = CATALOG["nimrod"].folder / folder
        place.mkdir(parents=True, exist_ok=True)
        for k, records in enumerate(parts.get(part, [[sequence(side, 32)]])):
            (place / f"seq-24-{k:05d}-of-00033.tfrecord.gz").write_bytes(gzip.compress(framed(*records)))


def test_examples_are_read_as_tensorflow_writes_them(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(example(a=b"xy", b=0.25, c=[3, -5, 1 << 40]), example(a=b"")))
    first, second = tfrecord.examples(path)
    assert first == {"a": [b"xy"], "b": [0.25], "c": [3, -5, 1 << 40]}
    assert second == {"a": [b""]}
    # As other writers have it: a number in a field of its own.
    alone = message(1, message(1, message(1, b"n") + message(2, message(3, b"\x08\x07") + b"")))
    assert tfrecord.example(alone) == {"n": [7]}
    alone = message(1, message(1, message(1, b"f") + message(2, message(2, b"\x0d" + struct.pack("<f", 2)))))
    assert tfrecord.example(alone) == {"f": [2.0]}


@pytest.mark.parametrize(("cut", "said"), [(-3, "record 1: the file ends"), (5, "record 0: no length")])
def test_a_file_that_ends_too_early_is_said(tmp_path, cut, said):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(example(a=b"xy"), example(a=b"z"))[:cut])
    with pytest.raises(ValueError, match=said):
        list(tfrecord.examples(path))


def test_uk_radar_is_mm_an_hour_with_its_mask_cut_off_and_weighted(data, monkeypatch):
    uk(data, monkeypatch, test=[[sequence(8, 48), sequence(8, 20_000, drawn=0.25, day=2)], [sequence(8, 0)]])
    source = CATALOG["nimrod"].open()
    assert "bench data prepare nimrod" in source.missing()
    seen = []
    manifest = source.prepare(lambda what, done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert manifest.complete
    assert manifest.counts == (24, 24, 72)
    assert source.missing() is None
    train, val, test = frames.read("nimrod")
    assert [e.attrs["part"] for e in (train, val, test)] == ["train", "val", "test"]
    assert test.dims == frames.DIMS
    assert test.attrs["units"] == "mm/h"
    values = test.to_numpy()[[0, 24, 48], 0]
    np.testing.assert_allclose(values[:, 3, 3], [1.5, 128, 0])
    assert np.isnan(values[:, 0, 0]).all()
    np.testing.assert_allclose(test["sample_prob"].values[[0, 24]], [0.5, 0.25])
    assert str(test["time"].values[0])[:16] == "2019-01-01T00:00"
    assert str(test["time"].values[47])[:16] == "2019-01-02T01:55"
    assert source.verify() == manifest
    assert source.prepare() == manifest, "it has been done"
    path = data / "prepared/nimrod/manifest.json"
    path.write_text(path.read_text().replace(manifest.sha256[2], "0" * 64))
    with pytest.raises(BenchError, match="test: is not what was prepared"):
        source.verify()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (sequence(9, 1), "record 1: has 1,944 cells, expected 24 x 8 x 8"),
        (sequence(8, -2), "record 1: has the code -2"),
        (sequence(8, 1, drawn=0.0), "record 1: has sample_prob 0"),
        (example(radar=b""), "record 1: has 0 cells"),
        (example(sample_prob=0.5), "record 1: lacks radar"),
        (b"\xff", "record 1: is no Example"),
    ],
)
def test_a_bad_sequence_of_uk_radar_is_named(data, monkeypatch, record, said):
    uk(data, monkeypatch, val=[[sequence(8, 1), record]])
    with pytest.raises(BenchError, match=rf"1 of 3 files cannot be read:\n.*seq-24-00000.*{said}"):
        CATALOG["nimrod"].open().prepare()
    assert not (data / "prepared/nimrod").exists()


def test_of_few_damaged_files_what_came_before_the_damage_is_kept(data, monkeypatch):
    uk(data, monkeypatch, train=[[sequence(8, k)] for k in range(20)])
    bad = CATALOG["nimrod"].folder / nimrod.VARIANTS["train"][0] / "seq-24-00003-of-00033.tfrecord.gz"
    bad.write_bytes(gzip.compress(framed(sequence(8, 3), sequence(8, 3))[:-10]))
    manifest = CATALOG["nimrod"].open().prepare()
    assert manifest.counts[0] == 20 * 24
    assert not manifest.complete
    (why,) = manifest.left_out
    assert "seq-24-00003-of-00033.tfrecord.gz: ValueError: record 1: the file ends inside it" in why


# ------------------------------------------------------------------------------------------------------- ERA5


def era5(data, numbers, **how):
    pytest.importorskip("zarr")
    pytest.importorskip("h5netcdf")
    folder = data / "era5"
    for number in numbers:
        year(folder, number, **how).to_netcdf(folder / f"{number}.nc", engine="h5netcdf")
    return CATALOG["era5"].open()


def test_era5_is_every_sixth_hour_of_all_years_in_any_format(data):
    source = era5(data, (2016, 2015))
    renamed = {"valid_time": "time", "u10": "10m_u_component_of_wind", "v10": "10m_v_component_of_wind"}
    year(data / "era5", 2017, rename=renamed, units="m/s").to_zarr(data / "era5/2017.zarr", zarr_format=3)
    (data / "era5/notes.nc").write_text("not a year")
    assert "is not prepared" in source.missing()
    manifest = source.prepare()
    assert manifest.counts == (3 * 8,)
    (event,) = frames.read("era5")
    assert event.dims == frames.DIMS
    assert event["component"].values.tolist() == ["u", "v"]
    assert event.to_numpy()[:3, :, 0, 0].tolist() == [[0, 1], [6, 7], [12, 13]]
    assert [p.sizes["time"] for p in frames.unbroken(event)] == [8, 8, 8], "years are no stretch"
    assert source.verify() == manifest


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"units": "knots"}, r"2015.nc: ValueError: u10 has the unit 'knots', expected one of m s\*\*-1"),
        ({"rename": {"v10": "t2m"}}, "has no variable v10 .*it has u10, t2m"),
        (
            {"rename": {"latitude": "cell"}},
            "has the dimensions .*cell.*expected time, latitude and longitude",
        ),
    ],
)
def test_a_year_of_another_unit_or_form_is_named(data, how, said):
    with pytest.raises(BenchError, match=rf"(?s)1 of 1 files cannot be read:.*{said}"):
        era5(data, (2015,), **how).prepare()


def test_a_year_that_is_cut_off_or_on_another_grid_is_named(data):
    source = era5(data, (2015, 2016))
    path = data / "era5/2016.nc"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match=r"1 of 2 files cannot be read:\n.*2016.nc"):
        source.prepare()
    year(data / "era5", 2016, side=5).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(BenchError, match=r"2016.nc: ValueError: its y are not those of the years before"):
        source.prepare()


def test_a_year_may_be_grib(data):
    eccodes = pytest.importorskip("eccodes")
    pytest.importorskip("cfgrib")
    pytest.importorskip("zarr")
    path = data / "era5/2015.grib"
    path.parent.mkdir()
    with open(path, "wb") as file:
        for hour in (0, 1, 6, 12):
            for parameter, value in ((165, hour), (166, hour + 1)):
                message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
                header = {
                    "centre": 98, "table2Version": 128, "indicatorOfParameter": parameter,
                    "dataDate": 20150301, "dataTime": hour * 100, "Ni": 5, "Nj": 4,
                    "latitudeOfFirstGridPointInDegrees": 60, "latitudeOfLastGridPointInDegrees": 59.25,
                    "longitudeOfFirstGridPointInDegrees": 0, "longitudeOfLastGridPointInDegrees": 1,
                    "iDirectionIncrementInDegrees": 0.25, "jDirectionIncrementInDegrees": 0.25,
                }  # fmt: skip
                for key, given in header.items():
                    eccodes.codes_set(message, key, given)
                eccodes.codes_set_values(message, np.full(20, float(value)))
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
    CATALOG["era5"].open().prepare()
    (event,) = frames.read("era5")
    assert event.to_numpy()[:, :, 0, 0].tolist() == [[0, 1], [6, 7], [12, 13]]
    assert event.sizes["y"] == 4
    assert [p.name for p in path.parent.iterdir()] == ["2015.grib"], "nothing is written beside the data"


# ----------------------------------------------------------------------------------------------------- arrays


def test_moving_mnist_is_sequences_one_after_another(data):
    source = CATALOG["moving-mnist"].open()
    assert "no file mnist_test_seq.npy in" in source.missing()
    (data / "moving-mnist").mkdir()
    path = data / "moving-mnist/mnist_test_seq.npy"
    pictures = np.zeros((20, 3, 4, 4), np.uint8)
    pictures[7, 2] = 255
    np.save(path, pictures)
    assert source.missing() is None
    (event,) = frames.read("moving-mnist")
    assert event.attrs["sequence"] == 20
    assert np.flatnonzero(event.to_numpy().max((1, 2, 3)) == 1).tolist() == [47]
    assert len(source.fingerprint()) == 16
    np.save(path, pictures.astype(np.float32))
    with pytest.raises(BenchError, match=r"is \(20, 3, 4, 4\) float32, expected .* uint8"):
        frames.read("moving-mnist")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BenchError, match=r"mnist_test_seq.npy: cannot be read"):
        source.verify()


def test_turbulent_flow_is_read_from_either_file_and_nothing_of_it_is_executed(data):
    torch = pytest.importorskip("torch")
    source = CATALOG["turbulent-flow"].open()
    assert "no file rbc_data.pt or rbc_data.npy in" in source.missing()
    (data / "turbulent-flow").mkdir()
    path = data / "turbulent-flow/rbc_data.pt"
    flow = np.arange(5 * 2 * 4 * 8, dtype=np.float32).reshape(5, 2, 4, 8)
    torch.save(torch.from_numpy(flow), path)
    (event,) = frames.read("turbulent-flow")
    np.testing.assert_array_equal(event.to_numpy(), flow)
    torch.save({"flow": torch.from_numpy(flow)}, path)
    with pytest.raises(BenchError, match="holds a dict, expected a tensor"):
        frames.read("turbulent-flow")
    torch.save(slice(1), path)
    with pytest.raises(BenchError, match=r"rbc_data.pt: cannot be read"):
        frames.read("turbulent-flow")
    path.unlink()
    flow[3, 1, 2, 2] = np.inf
    np.save(path.with_suffix(".npy"), flow)
    with pytest.raises(BenchError, match=r"rbc_data.npy: frame 3 has numbers that are not finite"):
        frames.read("turbulent-flow")
