"""Data of the user's own: what is made of them, how they are split, and what is refused."""

from __future__ import annotations

import shutil
from collections import Counter

import brought_files as files
import numpy as np
import pytest
import xarray as xr
from data_command import bench
from PIL import Image

from bench.contract import BenchError
from bench.data.brought import entries, images, tables
from bench.data.brought import fields as own_fields
from bench.registry import Registry
from bench.suite import Suite, resolve


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of the user's, with the folder of data sets in it."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tasks(suite, profile="laptop"):
    """Track -> names of the tasks that a suite file makes."""
    plans = resolve(Suite.read(suite), Registry(), profile)
    return {p.track.name: [t.name for t in p.track.tasks(p.grid)] for p in plans}


# ------------------------------------------------------------------------------------------------ pictures


def add_pictures(*more, name="mine", domains="photo,sketch,clip art"):
    domains = ["--domains", domains] if domains else []
    return bench("add", name, "--images", "pics", *domains, *more)


def test_pictures_become_tasks_of_three_tracks_in_a_suite_of_the_users(here):
    files.pictures(here / "pics")
    said = add_pictures("--licence", "CC0")
    assert "mine: 30 pictures (photo 10, sketch 10, clip art 10), 2 classes" in said
    made = tasks(here / "mine.yaml")
    assert made == tasks(here / "mine.yaml", "quick")
    assert made["multi_domain"] == made["dit_transfer"] == ["mine"]
    shift = ["shift-mine-photo", "shift-mine-sketch", "shift-mine-clip-art"]
    assert made["ood"] == [*shift, *(t.replace("shift", "wild") for t in shift)]
    assert "terms: CC0" in bench("list", "--suite", "mine.yaml")
    assert bench("check", "mine").startswith("mine: here, ")


def test_pictures_are_split_within_each_class_of_each_domain(here):
    files.pictures(here / "pics", each=10)
    add_pictures()
    found = images.read("mine")
    for group in range(3):
        for label in range(2):
            mine = (found.images.group == group) & (found.images.labels == label)
            assert np.bincount(found.part[mine]).tolist() == [6, 2, 2]
    assert found.images.classes == ("cat", "red fox"), "as a prompt names them"
    add_pictures("--again", "--seed", "1")
    assert (images.read("mine").part != found.part).any()


def test_copies_of_a_picture_come_into_one_part(here):
    files.pictures(here / "pics", each=10)
    for i in range(10):
        shutil.copy(here / f"pics/photo/cat/{i}.png", here / f"pics/sketch/cat/copy-{i}.png")
    assert "10 copies of others" in add_pictures()
    found = images.read("mine")
    part = dict(zip(found.images.files, found.part.tolist(), strict=True))
    assert all(part[f"photo/cat/{i}.png"] == part[f"sketch/cat/copy-{i}.png"] for i in range(10))


def test_pictures_without_domains_are_tasks_of_new_classes(here):
    files.pictures(here / "pics", domains=())
    add_pictures(domains="")
    assert tasks(here / "mine.yaml") == {"dit_transfer": ["mine"], "ood": ["open-mine"]}


def blank(folder):
    (folder / "photo/cat/0.png").write_bytes(b"")


def text(folder):
    (folder / "photo/cat/0.png").write_text("no image")


def two_classes(folder):
    shutil.copy(folder / "photo/cat/0.png", folder / "photo/red_fox/9.png")


def loose(folder):
    shutil.copy(folder / "photo/cat/0.png", folder / "photo/9.png")


def further(folder):
    (folder / "extra").mkdir()


def few(folder):
    for i in range(3):
        (folder / f"photo/cat/{i}.png").unlink()


def one_picture(folder):
    for i in range(1, 5):
        shutil.copy(folder / "photo/cat/0.png", folder / f"photo/cat/{i}.png")


def floats(folder):
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "photo/cat/x.tiff")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (blank, "photo/cat/0.png: has 0 bytes"),
        (text, "photo/cat/0.png: not a readable image"),
        (two_classes, "photo/cat/0.png and photo/red_fox/9.png are one picture in two classes"),
        (loose, "photo/9.png is in no class folder"),
        (further, "extra is none of the domains"),
        (few, "2 pictures in .*photo/cat, expected 3 or more"),
        (one_picture, "class 'cat' of domain 'photo' has 1 different pictures"),
        (floats, "whose range the file does not say"),
    ],
)
def test_pictures_that_are_refused(here, harm, said):
    harm(files.pictures(here / "pics"))
    with pytest.raises(BenchError, match=said):
        add_pictures()
    assert not (here / "mine.yaml").exists()
    assert entries.names() == ()


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        ("photo,skech", "no domain folder 'skech'.*did you mean 'sketch'"),
        ("photo", "expected two or more"),
        ("photo,photo", "each once"),
        ("photo,Photo", "domains photo and Photo are one in a task's name"),
    ],
)
def test_domains_that_are_refused(here, domains, said):
    files.pictures(here / "pics", domains=(*files.DOMAINS, "Photo"))
    with pytest.raises(BenchError, match=said):
        add_pictures(domains=domains)


# ----------------------------------------------------------------------------------------------- tables


def add_table(*more, name="ads", file="ads.csv", label="clicked"):
    return bench("add", name, "--table", file, "--label", label, *more)


def test_a_table_becomes_tasks_at_two_scales_and_with_domains_of_a_second_track(here):
    files.table(here / "ads.csv")
    assert "600 rows (480, 60, 60), 4 fields" in add_table("--domains", "site")
    assert tasks(here / "ads.yaml") == {"embedding_scale": ["ads-1x", "ads-4x"], "multi_domain": ["ads"]}
    table = tables.read("ads")
    assert set(table.columns) == {"user", "item", "price", "day"}
    assert set(table.domain.tolist()) == {"s0", "s1", "s2"}
    price = table.columns["price"]
    assert price.dtype.kind == "i"
    assert set(price.tolist()) == {-1, *range(tables.BUCKETS)}, "blanks, and buckets by training's quantiles"
    assert table.columns["user"].dtype.kind == "U", "whole numbers name something"


def test_a_table_is_split_by_time_or_by_group_or_by_a_draw(here):
    files.table(here / "ads.csv")
    rows = [line.split(",") for line in (here / "ads.csv").read_text().splitlines()[1:]]
    add_table("--time", "day", "--without", "price,site,item")
    by_time = tables.read("ads")
    first, second = by_time.cuts
    days = sorted(r[4] for r in rows)
    assert days[first - 1] < days[first], "rows of one day are in one part"
    assert days[second - 1] < days[second]
    assert set(by_time.columns) == {"user"}
    add_table("--again", "--group", "user")
    by_user = tables.read("ads")
    parts = [set(p.tolist()) for p in np.split(by_user.cluster, by_user.cuts)]
    assert sum(map(len, parts)) == len(set.union(*parts)), "a user is in one part"
    add_table("--again", "--seed", "3")
    drawn = tables.read("ads")
    assert drawn.cluster is None
    assert drawn.label.sum() == by_user.label.sum() == sum(r[5] == "1" for r in rows)


def test_copies_of_a_row_come_into_one_part(here):
    files.table(here / "ads.csv", rows=200)
    lines = (here / "ads.csv").read_text().splitlines(keepends=True)
    (here / "ads.csv").write_text(lines[0] + "".join(line * 3 for line in lines[1:]))
    add_table()
    table = tables.read("ads")
    rows = list(
        zip(*(c.tolist() for n, c in table.columns.items() if n != "price"), table.label, strict=True)
    )
    parts = [Counter(rows[a:b]) for a, b in zip((0, *table.cuts), (*table.cuts, None), strict=True)]
    assert all(n % 3 == 0 for part in parts for n in part.values())


def test_a_table_of_parquet_is_that_of_text(here):
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    files.table(here / "ads.csv")
    pd.read_csv(here / "ads.csv").to_parquet(here / "ads.parquet")
    add_table("--group", "user")
    text = tables.read("ads")
    add_table("--group", "user", "--again", file="ads.parquet")
    parquet = tables.read("ads")
    assert (text.label == parquet.label).all()
    assert text.cuts == parquet.cuts
    for name in text.columns:
        assert (text.columns[name] == parquet.columns[name]).all(), name


def test_labels_with_a_point_are_the_same_and_infinite_numbers_of_parquet_are_refused(here):
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    files.table(here / "ads.csv")
    frame = pd.read_csv(here / "ads.csv").astype({"clicked": float})
    frame.to_csv(here / "points.csv", index=False)
    add_table("--group", "user")
    whole = tables.read("ads")
    add_table("--group", "user", "--again", "--positive", "1", file="points.csv")
    assert (tables.read("ads").label == whole.label).all()
    frame.loc[3, "price"] = np.inf
    frame.to_parquet(here / "ads.parquet")
    with pytest.raises(BenchError, match="row 4 of column 'price' is infinite"):
        add_table("--again", file="ads.parquet")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clicked\n", "clicked,user\n", r"ads.csv:2: 6 values, expected 7"),
        ("user,item", "user,user", "two columns are named 'user'"),
        ("user,item", ",item", "column 1 has no name"),
        (",1\n", ",\n", "row 1?[0-9]* has no label"),
        (",1\n", ",2\n", "the label has the values 0, 1, 2"),
        (",1\n", ",1,9\n", r"ads.csv:[0-9]+: 7 values, expected 6"),
        (",1\n", ",1\n\n", r"ads.csv:[0-9]+: an empty line"),
        (",1\n", ',"1\n', "cannot be read as a table"),
    ],
)
def test_tables_that_are_refused(here, old, new, said):
    text = files.table(here / "ads.csv").read_text()
    (here / "ads.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError, match=said):
        add_table()
    assert entries.names() == ()


def test_labels_of_one_class_and_splits_with_one_are_the_datas_fault(here):
    text = files.table(here / "ads.csv").read_text()
    (here / "ads.csv").write_text(text.replace(",1\n", ",0\n"))
    with pytest.raises(BenchError, match="all 600 rows are of one class"):
        add_table()
    head, *rows = text.splitlines(keepends=True)
    ordered = sorted(rows, key=lambda r: r.rstrip()[-1])
    (here / "ads.csv").write_text(
        head.replace("user", "at") + "".join(f"{i},{r.split(',', 1)[1]}" for i, r in enumerate(ordered))
    )
    with pytest.raises(
        BenchError, match=r"split by --time at, (val|test) has [0-9]+ rows, [0-9]+ of them positive"
    ):
        add_table("--time", "at")


def test_a_label_of_more_than_two_values_is_cut_where_the_user_says(here):
    files.table(here / "ads.csv")
    with pytest.raises(BenchError, match=r"the label has the values 0, 1.*--positive '>=4'"):
        add_table(label="item")
    add_table("--positive", ">=4", label="item")
    rows = [line.split(",") for line in (here / "ads.csv").read_text().splitlines()[1:]]
    assert tables.read("ads").label.sum() == sum(int(r[1]) >= 4 for r in rows)
    with pytest.raises(BenchError, match="no row has that label"):
        add_table("--again", "--positive", "99", label="item")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--time", "dya"), "--time dya: no such column.*did you mean 'day'"),
        (("--time", "site"), "neither a number nor a date"),
        (("--group", "user", "--time", "day"), "give one of them"),
        (("--domains", "site", "--without", "site"), "'site' is named by two options"),
        (("--variables", "x"), "--variables says nothing of --table"),
        (("--images", "x"), "expected one of"),
        (("-t", "forecasting"), "-t forecasting: no task of it is made of table"),
        (("-t", "multi_domain"), "with domains"),
        (("--domains", "user"), "rows of domain '[0-9]+', 0 of them positive|rows of domain"),
    ],
)
def test_options_that_are_refused(here, more, said):
    files.table(here / "ads.csv")
    with pytest.raises(BenchError, match=said):
        add_table(*more)


def test_only_add_takes_what_says_what_data_are(here):
    with pytest.raises(
        BenchError, match="bench data check: what data of your own are is said to bench data add"
    ):
        bench("check", "--label", "clicked")
    with pytest.raises(BenchError, match="expected one name"):
        bench("add", "--table", "ads.csv")


def test_a_table_that_changed_is_missing_and_says_so(here):
    file = files.table(here / "ads.csv")
    add_table()
    text = file.read_text()
    file.write_text(text + text.splitlines()[1] + "\n")
    assert "had" in bench("list", "--suite", "ads.yaml")
    assert "bench data add ads" in bench("check", "ads", code=1)
    file.write_text(text.replace("s1", "s2"))
    with pytest.raises(BenchError, match="is not what was added"):
        tables.read("ads")
    file.write_text(text)
    assert len(tables.read("ads").label) == 600


# ----------------------------------------------------------------------------------------------- fields


@pytest.mark.parametrize("end", ["nc", "zarr"])
def test_fields_become_a_task_with_windows_in_every_part(here, end):
    pytest.importorskip("h5netcdf" if end == "nc" else "zarr")
    files.field(here / f"warm.{end}")
    assert "100 x 24 x 32 (frames, rows, columns) of t2m in K" in bench(
        "add", "warm", "--fields", f"warm.{end}"
    )
    (plan,) = resolve(Suite.read("warm.yaml"), Registry(), "laptop")
    (task,) = plan.track.tasks(plan.grid)
    track, _ = Registry().track_of("forecasting", task)
    assert track.missing(task, plan.run) is None
    data = track.load(task, plan.run, None)
    truth = track.truth(task, plan.run, None)
    assert data.test.sizes["window"] == truth.test.sizes["window"] >= 1
    assert data.test.sizes["y"] == 24
    assert data.units == "K"
    first = data.test.isel(window=0, time=0, component=0, y=0).values
    x = np.arange(24)
    assert np.allclose(first, 280 + np.sin((x - 2 * 90) / 5) + 1, atol=1e-4), "the first of the last tenth"


@pytest.mark.parametrize(
    ("unit", "km"),
    [("km", 2.0), ("m", 0.002), ("degrees_north", 222.4), ("pixels", None), ("", None)],
)
def test_the_width_of_a_cell_is_told_by_the_unit_of_its_rows(unit, km):
    """STEPS varies the motion by it, and leaves that where it is not known."""
    y = xr.DataArray([4.0, 2.0, 0.0], dims="y", attrs={"units": unit})
    field = xr.DataArray(np.zeros((1, 3, 3)), {"y": y}, ("time", "y", "x"))
    assert own_fields._km(field) == (None if km is None else pytest.approx(km))
    assert own_fields._km(field.drop_vars("y")) is None


def gap(d):
    return d.isel(time=[0, 2, 1, *range(3, 100)])


def other_calendar(d):
    return d.assign_coords(
        time=("time", np.arange(100), {"units": "days since 2000-01-01", "calendar": "360_day"})
    )


def infinite(d):
    return d.where(d["t2m"] < 281, np.inf)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (gap, "the times of its frames do not ascend after frame 1"),
        (other_calendar, "its times are Datetime360Day, such as 2000-01-01 00:00:00, expected dates"),
        (infinite, "frame 0 has numbers that are infinite"),
        (lambda d: d.isel(time=slice(50)), "has 50 frames, expected 80 or more"),
        (lambda d: d.isel(latitude=slice(8)), "has 8 x 32 cells, expected 16 or more"),
        (lambda d: d.isel(time=0, drop=True), "has no field with time and two axes"),
        (lambda d: d.rename(time="when"), "none of which is time"),
        (lambda d: d * 0, "all its values are 0"),
        (lambda d: d.assign(other=d["t2m"]), "has the fields t2m, other: choose with --variables"),
    ],
)
def test_fields_that_are_refused(here, harm, said):
    pytest.importorskip("h5netcdf")
    if harm is other_calendar:
        pytest.importorskip("cftime", reason="other calendars need cftime")
    xr = pytest.importorskip("xarray")
    with xr.open_dataset(files.field(here / "whole.nc"), engine="h5netcdf") as whole:
        harm(whole.load()).to_netcdf(here / "warm.nc", engine="h5netcdf")
    with pytest.raises(BenchError, match=said):
        bench("add", "warm", "--fields", "warm.nc")


def test_fields_of_the_older_netcdf_are_read_and_names_of_axes_are_told_by_place(here):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xr.open_dataset(files.field(here / "whole.nc"), engine="h5netcdf") as whole:
        plain = whole.load().rename(latitude="north", longitude="east")
    plain.to_netcdf(here / "warm.nc", engine="scipy")
    assert "100 x 24 x 32" in bench("add", "warm", "--fields", "warm.nc")


def test_a_field_that_is_cut_off_is_refused(here):
    pytest.importorskip("h5netcdf")
    data = files.field(here / "warm.nc").read_bytes()
    (here / "warm.nc").write_bytes(data[: len(data) // 2])
    with pytest.raises(BenchError, match=r"warm\.nc: cannot be read"):
        bench("add", "warm", "--fields", "warm.nc")


# ------------------------------------------------------------------------------------------- names, suites


@pytest.mark.parametrize("name", ["flights", "Mine", "a/b", "", "-x", "insteval"])
def test_names_that_are_taken_or_are_none(here, name):
    files.table(here / "ads.csv")
    with pytest.raises(BenchError, match=f"bench data add {name!r}|there is a data set of that name"):
        add_table(name=name) if not name.startswith("-") else entries.check_name(name)


def test_networks_of_the_papers_want_a_gpu_and_their_weights(here):
    files.pictures(here / "pics")
    add_pictures("--network", "paper")
    said = bench("list", "--suite", "mine.yaml")
    assert "CLIP: no file ViT-B-16.pt" in said
    assert "resnet50: no file resnet50.safetensors" in said
    assert "gpu: 1" in (here / "mine.yaml").read_text()


def test_a_name_that_a_track_knows_is_taken(here):
    files.pictures(here / "pics")
    with pytest.raises(BenchError, match="track multi_domain has data of that name"):
        add_pictures(name="emoji")
    assert entries.names() == ()


def test_a_suite_of_the_users_grows_and_keeps_what_they_changed(here):
    files.table(here / "ads.csv")
    add_table("--suite", "all.yaml")
    text = (here / "all.yaml").read_text()
    (here / "all.yaml").write_text(text.replace("epochs: 10", "epochs: 3"))
    add_table("--suite", "all.yaml", name="more")
    assert tasks(here / "all.yaml") == {"embedding_scale": ["ads-1x", "ads-4x", "more-1x", "more-4x"]}
    assert "epochs: 3" in (here / "all.yaml").read_text()
    with pytest.raises(BenchError, match="was added already"):
        add_table("--suite", "all.yaml")


def test_a_suite_that_somebody_wrote_is_not_touched(here):
    files.table(here / "ads.csv")
    text = "# mine\nprofiles: {laptop: {seeds: 2}}\ntracks: {}\n"
    (here / "own.yaml").write_text(text)
    with pytest.raises(BenchError, match=r"(?s)would lose its comments.*embedding_scale:.*- ads|ads"):
        add_table("--suite", "own.yaml")
    assert (here / "own.yaml").read_text() == text
    assert entries.names() == ()
