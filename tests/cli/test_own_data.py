"""Pictures, a table and a field of a stranger: from `bench data add` to a board in three commands."""

import csv

import brought_files as files
import pytest
from nightly import at_night

MAKE = {"images": files.pictures, "table": files.table, "fields": files.field}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "file", "more", "cells"),
    [
        at_night(
            "images", "pics", ("--domains", "photo,sketch,clip art", "-t", "ood"), ("-k", "shift-mine-photo")
        ),
        (
            "table", "ads.csv", ("--label", "clicked"),
            ("-k", "scale=1", "-m", "prior", "-m", "lr", "-m", "single/dnn"),
        ),
        ("fields", "warm.nc", (), ("-m", "persistence", "-m", "lagged", "-m", "climatology")),
    ],
)  # fmt: skip
def test_from_data_to_a_board_in_three_commands(bench, tmp_path, monkeypatch, kind, file, more, cells):
    if kind == "fields":
        pytest.importorskip("h5netcdf")
        pytest.importorskip("scores")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    data, suite = MAKE[kind](tmp_path / file), str(tmp_path / "mine.yaml")
    said = bench("data", "add", "mine", f"--{kind}", str(data), *more, "--suite", suite)
    assert said.code == 0, said
    of = ("-p", "quick", "--suite", suite, "--store", str(tmp_path / "store"), *cells)
    said = bench("run", "--local", "--cpus", "1", *of)
    assert said.code == 0, said
    assert "3 ok" in said.out, said
    said = bench("board", "--format", "csv", *of)
    assert said.code == 0, said
    assert "own data" in bench("board", *of).out
    lines = csv.DictReader(said.out.splitlines())
    scored = {r["row"] for r in lines if r["mean"] and r["role"] in ("method", "baseline")}
    assert len(scored) == 3, said
