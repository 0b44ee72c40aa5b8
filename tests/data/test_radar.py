"""Radar frames in the layouts of pySTEPS/pysteps-data, each on tiny files that are made here."""

import gzip
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from mutations import OF_BYTES, mutated

from bench.data.catalog import CATALOG
from bench.data.fields import frames, radar
from bench.data.fields.radar_layouts import LAYOUTS
from bench.errors import BenchError

pytest.importorskip("h5netcdf")


@pytest.fixture(autouse=True)
def copy(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path / "pysteps-data"


def small(monkeypatch, name, shape, frames=None):
    """Let the layout of a source have frames of another size and number."""
    layouts = {**LAYOUTS, name: replace(LAYOUTS[name], shape=shape, frames=frames)}
    monkeypatch.setattr(radar, "LAYOUTS", layouts)


def knmi_frame(path, hundredths):
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image1/image_data"] = np.asarray(hundredths, np.uint16)
        where = file.create_group("geographic")
        where.attrs["geo_column_offset"] = np.array([0.0])
        where.attrs["geo_row_offset"] = np.array([3650.0])
        where.attrs["geo_pixel_size_x"] = np.array([1.0])
        where.attrs["geo_pixel_size_y"] = np.array([-1.0])
        where.attrs["geo_number_columns"] = np.array([8])
        where.attrs["geo_number_rows"] = np.array([8])
        where.attrs["geo_dim_pixel"] = np.bytes_("KM,KM")
        projection = file.create_group("geographic/map_projection")
        projection.attrs["projection_proj4_params"] = np.bytes_("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60")


def knmi(copy, monkeypatch, n=24):
    """``n`` frames of 8 x 8 cells, every 5 minutes: 12 mm/h everywhere, one cell without an observation."""
    pytest.importorskip("pysteps")
    small(monkeypatch, "knmi", (8, 8))
    rain = np.full((8, 8), 100)
    rain[0, 0] = 65535
    paths = [
        copy / f"radar/KNMI/2010/08/RAD_NL25_RAP_5min_20100826{5 * i // 60:02d}{5 * i % 60:02d}.h5"
        for i in range(n)
    ]
    for path in paths:
        knmi_frame(path, rain)
    return paths


def test_without_a_copy_the_command_that_fetches_it_is_said(copy):
    for name in LAYOUTS:
        why = CATALOG[name].open().missing()
        assert "bench data fetch pysteps-data" in why
        assert f"bench data prepare {name}" in why
        assert str(copy / LAYOUTS[name].below) in why
        with pytest.raises(BenchError, match="bench data fetch pysteps-data"):
            radar.prepare(name)


def test_knmi_is_decoded_to_mm_an_hour_every_second_frame_with_its_mask(copy, monkeypatch):
    knmi(copy, monkeypatch)
    seen = []
    manifest = radar.prepare("knmi", progress=lambda what, done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert manifest.counts == (12,)
    assert manifest.complete
    (event,) = frames.read("knmi")
    assert event.dims == frames.DIMS
    assert event.shape == (12, 1, 2, 2)
    assert event.attrs["units"] == "mm/h"
    assert event.name == "knmi 2010-08-26 00:00"
    np.testing.assert_allclose(event[0, 0], [[np.nan, 12], [12, 12]])
    assert event["x"].values.tolist() == [2, 6], "the centers of the boxes in km"
    assert np.diff(event["time"].values).tolist() == [600 * 10**9] * 11
    source = CATALOG["knmi"].open()
    assert source.missing() is None
    assert "12 frames in 1 events" in source.verify().summary()
    before = source.fingerprint()
    assert len(before) == 16
    (copy / LAYOUTS["knmi"].below / "notes.txt").write_text("mine")
    assert radar.prepare("knmi", again=True).left_out
    assert source.fingerprint() == before, "frames are the same, whatever lies beside them and where"


PREPARE_SMALL = """
import sys
from dataclasses import replace
from bench.cli import main
from bench.data.fields import radar
radar.LAYOUTS = {k: replace(v, shape=(8, 8), frames=None) for k, v in radar.LAYOUTS.items()}
sys.argv = ["bench", "data", "prepare", "mrms", "knmi"]
main()
"""


@pytest.mark.slow
def test_one_command_prepares_mrms_and_then_knmi_and_ends_well(copy, monkeypatch):
    """Each is decoded by a wheel with a libproj of its own, which once killed the process at its end."""
    pytest.importorskip("pyproj")
    knmi(copy, monkeypatch)
    for minute in (0, 4):
        mrms_frame(copy, minute, np.ones((8, 8)))
    done = subprocess.run([sys.executable, "-c", PREPARE_SMALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mrms: 2 frames" in done.stdout
    assert "knmi: 12 frames" in done.stdout


def test_few_unreadable_frames_are_named_and_left_out_and_many_stop(copy, monkeypatch):
    paths = knmi(copy, monkeypatch, n=48)
    paths[4].write_bytes(paths[4].read_bytes()[:500])
    (paths[0].parent / "notes.txt").write_text("mine")
    manifest = radar.prepare("knmi")
    assert manifest.counts == (23,)
    assert not manifest.complete
    assert any("RAD_NL25_RAP_5min_201008260020.h5: cannot be decoded" in why for why in manifest.left_out)
    assert any("notes.txt: is no file of this layout" in why for why in manifest.left_out)
    (event,) = frames.read("knmi")
    assert [part.sizes["time"] for part in frames.unbroken(event)] == [2, 21]
    paths[8].write_bytes(b"no radar")
    with pytest.raises(BenchError, match="2 of 24 frames cannot be read") as e:
        radar.prepare("knmi", again=True)
    assert "201008260040.h5" in str(e.value)


def test_frames_of_another_size_or_less_than_the_published_copy_are_refused(copy, monkeypatch):
    knmi(copy, monkeypatch, n=2)
    small(monkeypatch, "knmi", (765, 700))
    with pytest.raises(BenchError, match=r"has \(8, 8\) cells, expected \(765, 700\)"):
        radar.prepare("knmi")
    small(monkeypatch, "knmi", (8, 8), frames=46)
    with pytest.raises(BenchError, match=r"published copy has 46.*--partial"):
        radar.prepare("knmi")
    assert not radar.prepare("knmi", partial=True).complete


def test_prepared_data_that_changed_are_found(copy, monkeypatch):
    knmi(copy, monkeypatch, n=2)
    radar.prepare("knmi")
    manifest = copy.parent / "prepared" / "knmi" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(radar._manifest("knmi").sha256[0], "0" * 64))
    with pytest.raises(BenchError, match="is not what was prepared"):
        CATALOG["knmi"].open().verify()


def mrms_frame(copy, minute, rain, **other):
    """A frame of 8 x 8 cells in GRIB2, as MRMS writes it; ``other`` replaces keys of its header."""
    eccodes = pytest.importorskip("eccodes")
    path = copy / f"mrms/2019/06/10/PrecipRate_00.00_20190610-00{minute:02d}00.grib2"
    path.parent.mkdir(parents=True, exist_ok=True)
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    header = {
        "centre": 161, "discipline": 209, "parameterCategory": 6, "parameterNumber": 1, "Ni": 8, "Nj": 8,
        "latitudeOfFirstGridPointInDegrees": 54.995, "latitudeOfLastGridPointInDegrees": 54.925,
        "longitudeOfFirstGridPointInDegrees": 230.005, "longitudeOfLastGridPointInDegrees": 230.075,
        "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01, "bitsPerValue": 16,
    }  # fmt: skip
    for key, value in (header | other).items():
        eccodes.codes_set(message, key, value)
    eccodes.codes_set_values(message, rain.ravel())
    with open(path, "wb") as file:
        eccodes.codes_write(message, file)
    eccodes.codes_release(message)
    return path


def test_mrms_is_averaged_with_its_mask_at_its_longitudes(copy, monkeypatch):
    small(monkeypatch, "mrms", (8, 8))
    rain = np.ones((8, 8))
    rain[:, 4:] = 3
    rain[7, 7], rain[0, 7] = -3, -1
    for minute in (0, 2, 4):
        mrms_frame(copy, minute, rain)
    assert radar.prepare("mrms").counts == (2,)
    (event,) = frames.read("mrms")
    np.testing.assert_allclose(event[0, 0], [[1, np.nan], [1, np.nan]], atol=1e-3)
    np.testing.assert_allclose(event["x"], [-129.98, -129.94])
    np.testing.assert_allclose(event["y"], [54.98, 54.94])
    assert not list(copy.rglob("*.idx")), "nothing is written beside the data"


@pytest.mark.parametrize(
    ("other", "cut", "said"),
    [
        ({"parameterNumber": 2}, None, r"parameter \(209, 6, 2\); expected \(209, 6, 1\).*in mm/h"),
        ({"jScansPositively": 1}, None, "do not run from north to south"),
        ({}, 100, "cannot be decoded"),
        ({}, 0, "holds no GRIB message"),
    ],
)
def test_a_frame_of_mrms_of_another_unit_or_order_or_without_its_end_is_named(
    copy, monkeypatch, other, cut, said
):
    small(monkeypatch, "mrms", (8, 8))
    path = mrms_frame(copy, 0, np.ones((8, 8)), **other)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BenchError, match=rf"(?s)1 of 1 frames cannot be read:.*{path.name}.*{said}"):
        radar.prepare("mrms")


def test_a_preparation_that_was_stopped_goes_on_where_it_was(copy, monkeypatch):
    paths = knmi(copy, monkeypatch, n=4)

    def stopped(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        radar.prepare("knmi", progress=stopped)
    assert CATALOG["knmi"].open().missing() is not None
    decoded = []
    layout = replace(radar.LAYOUTS["knmi"], decode=lambda path: decoded.append(path) or np.ones((8, 8)))
    monkeypatch.setattr(radar, "LAYOUTS", {**LAYOUTS, "knmi": layout})
    radar.prepare("knmi")
    assert decoded == [paths[2]], "the first frame in use was kept, and every second one is in use"
    np.testing.assert_allclose(np.nanmax(frames.read("knmi")[0].values, (1, 2, 3)), [12, 1])
    assert [p.name for p in (copy.parent / "prepared").iterdir()] == ["knmi"], "what was kept is gone"
    radar.prepare("knmi", again=True)
    assert decoded == [paths[2], paths[0], paths[2]]


def fmi_frame(copy, monkeypatch, time="201609281600"):
    """A frame of 4 x 4 cells, 30 dBZ everywhere."""
    pytest.importorskip("pysteps")
    pytest.importorskip("pyproj")
    small(monkeypatch, "fmi", (4, 4))
    head = (
        f"P5\n# obstime {time}\n# projection radar {{\n# type stereographic\n# centrallongitude 25\n"
        "# centrallatitude 90\n# truelatitude 60\n# bottomleft 18.600000 57.930000\n"
        "# topright 34.903000 69.005000\n# }\n# metersperpixel_x 999.674053\n# metersperpixel_y 999.62859\n"
        "# missingval 255\n4 4\n255\n"
    ).encode()
    path = copy / f"radar/fmi/pgm/{time[:8]}/{time}_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(head + bytes([124] * 16)))
    return path


def meteoswiss_frame(copy, monkeypatch):
    """A frame of 4 x 8 cells, the code 131 everywhere, one cell without an observation."""
    pytest.importorskip("pysteps")
    from PIL import Image

    small(monkeypatch, "meteoswiss", (4, 8))
    coded = np.full((4, 8), 131, np.uint8)
    coded[0, 0] = 255
    path = copy / "radar/mch/20170131/AQC170311000F_00005.801.gif"
    path.parent.mkdir(parents=True)
    Image.fromarray(coded).save(path, optimize=False)  # optimized, it would be coded anew
    return path


def bom_frame(copy, monkeypatch, product="c10", day="2020/10/31", minute=0, step=10, units="kg m-2"):
    """A frame of 8 x 8 cells, 0.5 mm in ``step`` minutes everywhere."""
    pytest.importorskip("pysteps")
    netcdf = pytest.importorskip("netCDF4")
    small(monkeypatch, "bom", (8, 8))
    time = f"{day.replace('/', '')}_10{minute:02d}00"
    path = copy / f"radar/bom/prcp-{product}/2/{day}/2_{time}.prcp-{product}.nc"
    path.parent.mkdir(parents=True, exist_ok=True)
    with netcdf.Dataset(path, "w") as file:
        for axis in ("y", "x"):
            file.createDimension(axis, 8)
            file.createVariable(axis, "f8", (axis,))[:] = np.arange(8) / 2
            file[axis].units = "km"
        projection = file.createVariable("proj", "i4")
        projection.grid_mapping_name = "albers_conical_equal_area"
        projection.longitude_of_central_meridian = 144.752
        projection.latitude_of_projection_origin = -37.852
        projection.standard_parallel = np.array([-18.0, -36.0])
        for name, at in (("start_time", minute * 60), ("valid_time", (minute + step) * 60)):
            file.createVariable(name, "i4")[...] = at
            file[name].units = "seconds since 2018-06-16 10:00:00"
        rain = file.createVariable("precipitation", "f4", ("y", "x"))
        rain.units = units
        rain[:] = 0.5
    return path


def test_fmi_is_decoded_by_pysteps(copy, monkeypatch):
    fmi_frame(copy, monkeypatch)
    assert radar.prepare("fmi").counts == (1,)
    (event,) = frames.read("fmi")
    # (124 - 64) / 2 = 30 dBZ, and Z = 223 R^1.53
    np.testing.assert_allclose(event.values.ravel(), [(10**3 / 223) ** (1 / 1.53)], rtol=1e-4)


def test_frames_that_are_far_apart_are_events_of_their_own_and_a_gap_is_none(copy, monkeypatch):
    for time in ("201609281600", "201609281610", "201609281640", "201705091000"):
        fmi_frame(copy, monkeypatch, time)
    manifest = radar.prepare("fmi")
    assert manifest.events == ("fmi 2016-09-28 16:00", "fmi 2017-05-09 10:00")
    assert manifest.counts == (3, 1)
    first, _ = frames.read("fmi")
    assert np.diff(first["time"].values).tolist() == [600 * 10**9, 1800 * 10**9]


def test_meteoswiss_is_decoded_by_pysteps(copy, monkeypatch):
    meteoswiss_frame(copy, monkeypatch)
    radar.prepare("meteoswiss")
    (event,) = frames.read("meteoswiss")
    assert event["time"].values[0] == np.datetime64("2017-01-31T10:00")
    # a code of mm in 5 minutes, therefore times 12
    expected = 12 * (10 ** ((131 - 71.5) / 20) / 316) ** (1 / 1.5)
    np.testing.assert_allclose(event.values.ravel(), [np.nan, expected], rtol=1e-5)


def test_bom_is_decoded_by_pysteps_and_products_are_events_of_their_own(copy, monkeypatch):
    for minute in (0, 10):
        bom_frame(copy, monkeypatch, "c10", "2020/10/31", minute, 10)
    for minute in (0, 6, 12):
        bom_frame(copy, monkeypatch, "cscn", "2018/06/16", minute, 6)
    manifest = radar.prepare("bom")
    assert manifest.events == ("prcp-c10/2 2020-10-31 10:00", "prcp-cscn/2 2018-06-16 10:00")
    assert manifest.counts == (2, 3)
    of_ten, of_six = frames.read("bom")
    assert of_ten.name == manifest.events[0]
    np.testing.assert_allclose([of_ten.max(), of_six.max()], [3, 5], rtol=1e-6)


@pytest.mark.parametrize("name", ["fmi", "meteoswiss", "bom"])
def test_a_frame_that_was_cut_off_is_named(copy, monkeypatch, name):
    made = {"fmi": fmi_frame, "meteoswiss": meteoswiss_frame, "bom": bom_frame}[name]
    path = made(copy, monkeypatch)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(BenchError, match=rf"1 of 1 frames cannot be read:\n.*{path.name}: cannot be decoded"):
        radar.prepare(name)


@pytest.fixture
def one_frame(copy, monkeypatch, request):
    """A frame of 8 x 8 cells or so of a source: what the file holds, and its layout."""
    name = request.param
    if name == "knmi":
        (path,) = knmi(copy, monkeypatch, 1)
    else:
        make = {"fmi": fmi_frame, "meteoswiss": meteoswiss_frame, "bom": bom_frame}[name]
        path = make(copy, monkeypatch)
    return path, path.read_bytes(), radar.LAYOUTS[name]


# Not of MRMS: over damaged files eccodes spoils the memory of its process, which ends sooner or later.
@pytest.mark.parametrize("one_frame", ["knmi", "fmi", "meteoswiss", "bom"], indirect=True)
@given(harm=OF_BYTES)
def test_a_mutated_frame_has_all_its_cells_or_is_named(one_frame, harm):
    path, whole, layout = one_frame
    path.unlink()  # libraries may hold the damaged one
    path.write_bytes(mutated(whole, harm)[0])
    try:
        found = radar._decoded(path, layout)
    except BenchError as e:
        said = str(e)
        assert said.startswith(f"{path}: ")
    else:
        assert found.shape == tuple(n // layout.box for n in layout.shape)
        assert np.nanmin(found) >= 0


def test_an_unknown_unit_is_named(copy, monkeypatch):
    path = bom_frame(copy, monkeypatch, units="inch")
    with pytest.raises(BenchError, match=rf"1 of 1 frames cannot be read:\n.*{path.name}.*unit"):
        radar.prepare("bom")
