# ruff: noqa: E501 (a table of mistakes, one a line)
"""Mistakes in bench.yaml: each names the file, the line, the key and the nearest valid value."""

import re
from pathlib import Path

import pytest

from bench.contract import BenchError, Needs
from bench.registry import Registry
from bench.suite import Suite, resolve

GOOD = """profiles:
  laptop: {seeds: 2}
  tour: {seeds: [0, 5]}
x-anchors:
  run: &run {epochs: 5}
tracks:
  grids:
    ranks_by: value
    rows:
      core: [single, "multi/*"]
      ablations:
        rows: ["single/wide"]
        tasks: ["*-4x"]
    laptop:
      grid:
        scales: [1, 4]
      run:
        <<: *run
        rate: 1e-3
      hp:
        single:
          lr: 1e-2
      needs:
        "multi/*":
          minutes: 7
    tour:
      run: *run
"""

#: (text in GOOD, what stands there instead, line of the mistake, what is said)
MISTAKES = {
    "profile of a track": ("    tour:\n", "    tuor:\n", 26, "no profile 'tuor'; did you mean 'tour'?"),
    "track": ("  grids:\n", "  girds:\n", 7, "tracks.girds: no such track; did you mean 'grids'?"),
    "core row": (
        '[single, "multi/*"]',
        '[sinlge, "multi/*"]',
        9,
        "no row of track grids matches 'sinlge'; did you mean 'single'? (rows of a file of your own need "
        "--plugin FILE)",
    ),
    "ablation": ('["single/wide"]', '["single/wied"]', 9, "did you mean 'single/wide'?"),
    "grid key": (
        "        scales:",
        "        scale:",
        16,
        "grid.scale: unknown setting; did you mean 'scales'?",
    ),
    "grid type": ("scales: [1, 4]", "scales: [1, four]", 16, "grid.scales.1: Input should be a valid integer"),
    "run key": ("        rate:", "        rat:", 19, "run.rat: unknown setting; did you mean 'rate'?"),
    "run key behind <<": ("{epochs: 5}", "{epocs: 5}", 5, "run.epocs: unknown setting; did you mean 'epochs'?"),
    "run type": ("rate: 1e-3", "rate: quick", 19, "run.rate: Input should be a valid number"),
    "hp row": ("        single:\n", "        sngle:\n", 21, "hp.sngle: no row of track grids matches 'sngle'"),
    "hp": ("          lr:", "          lrr:", 22, "single has no such hyper-parameter; did you mean 'lr'?"),
    "hp type": ("lr: 1e-2", "lr: large", 22, "hp.single.lr: Input should be a valid number"),
    "needs key": ("minutes: 7", "minuts: 7", 25, "unknown setting; did you mean 'minutes'?"),
    "needs type": ("minutes: 7", "minutes: soon", 25, "Input should be a valid number"),
    "ranks_by": ("ranks_by: value", "ranks_by: valeu", 8, "'valeu' is no quality metric; did you mean 'value'?"),
    "ranks_by a cost": ("ranks_by: value", "ranks_by: size", 8, "'size' is no quality metric"),
    "no ranks_by": ("    ranks_by: value\n", "", 7, "tracks.grids.ranks_by: Field required"),
    "track key": ("    ranks_by: value", "    rank_by: value", 8, "did you mean 'ranks_by'?"),
    "profile key": ("      hp:\n", "      hps:\n", 20, "tracks.grids.laptop.hps: unknown key; did you mean 'hp'?"),
    "rows key": ("      core:", "      cores:", 10, "tracks.grids.rows.cores: unknown key; did you mean 'core'?"),
    "top key": ("profiles:\n", "profile:\n", 1, "profile: unknown key; did you mean 'profiles'?"),
    "seeds": ("{seeds: 2}", "{seeds: 0}", 2, "seeds must be 1 or more"),
    "seeds type": ("{seeds: 2}", "{seeds: two}", 2, "profiles.laptop.seeds"),
    "seeds row": ("minutes: 7\n", "minutes: 7\n      seeds: {sngle: 3}\n", 26, "grids matches 'sngle'"),
    "seeds of a row": ("minutes: 7\n", "minutes: 7\n      seeds: {single: 0}\n", 26, "must be 1 or more"),
    "seeds past every plan": ("{seeds: 2}", "{seeds: 99999999999999999999}", 2, "seeds must be 1 or more, and at"),
    "seeds repeated": ("{seeds: 2}", "{seeds: [3, 0, 3]}", 2, "seed 3 stands there twice"),
    "seeds below 0": ("{seeds: 2}", "{seeds: [-1]}", 2, "greater than or equal to 0 (found -1)"),
    "seeds that torch cannot hold": ("{seeds: 2}", "{seeds: [2147483648]}", 2, "less than 2147483648"),
    "no seeds": ("{seeds: 2}", "{seeds: []}", 2, "at least 1 item"),
    "seeds true": ("{seeds: 2}", "{seeds: yes}", 2, "profiles.laptop.seeds"),
    "seeds list of true": ("{seeds: 2}", "{seeds: [yes]}", 2, "profiles.laptop.seeds"),
    "seeds of a row repeated": ("minutes: 7\n", "minutes: 7\n      seeds: {single: [1, 1]}\n", 26, "1 stands there"),
    "grid repeated": ("scales: [1, 4]", "scales: [1, 4, 1]", 16, "grid.scales: 1 stands there twice"),
    "run NaN": ("rate: 1e-3", "rate: .nan", 19, "rate is nan, expected a finite number"),
    "run NaN as a word": ("rate: 1e-3", "rate: nan", 19, "rate is nan, expected a finite number"),
    "run infinite": ("rate: 1e-3", "rate: .inf", 19, "rate is inf, expected a finite number"),
    "run true": ("{epochs: 5}", "{epochs: yes}", 5, "epochs: Input should be a number (found True)"),
    "run list of true": ("rate: 1e-3", "widths: [yes]", 19, "widths: Input should be a number (found [True])"),
    "hp NaN": ("lr: 1e-2", "lr: .nan", 22, "lr is nan, expected a finite number"),
    "hp true": ("lr: 1e-2", "lr: yes", 22, "Input should be a number (found True)"),
    "hp a date": ("lr: 1e-2", "lr: 2020-01-31", 22, "hp.single.lr: "),
    "needs below 0": ("minutes: 7", "minutes: -1", 25, "minutes is -1.0, expected a finite number above 0"),
    "needs NaN": ("minutes: 7", "minutes: .nan", 25, "minutes is nan, expected a finite number"),
    "needs type of GPU": ("minutes: 7", "accelerator: 'H 100'", 25, "expected a type of GPU as Ray names it"),
    "needs zero": ("minutes: 7", "mem_gb: 0", 25, "mem_gb is 0.0, expected a finite number above 0"),
    "needs true": ("minutes: 7", "minutes: yes", 25, "Input should be a number (found True)"),
    "no such date": ("lr: 1e-2", "lr: 2020-99-99", 22, "a value that YAML cannot read"),
    "key twice": ("        scales: [1, 4]\n", "        scales: [1, 4]\n        scales: [1]\n", 17, "appears twice"),
    "tab": ("      grid:\n", "\tgrid:\n", 15, "not YAML"),
    "not YAML": ("{epochs: 5}", "{epochs: 5", 6, "not YAML"),
    "unknown anchor": ("      run: *run", "      run: *rum", 27, "not YAML: found undefined alias"),
}  # fmt: skip


@pytest.fixture
def grids(sandbox):
    sandbox.use("grids")
    sandbox.write(GOOD)
    return sandbox


def read(sandbox, profile="laptop", only=("grids",)):
    return resolve(Suite.read(sandbox.suite), sandbox.registry(), profile, only)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_file_line_key_and_what_was_meant(grids, name):
    old, new, line, said = MISTAKES[name]
    assert GOOD.count(old) == 1
    grids.write(GOOD.replace(old, new))
    with pytest.raises(BenchError) as e:
        read(grids, only=())
    text = str(e.value)
    assert f"{grids.suite}:{line}: " in text, text
    assert said in text


def test_a_good_suite_says_what_it_says(grids):
    (plan,) = read(grids)
    assert (plan.ranks_by, plan.seeds, plan.grid.scales) == ("value", (0, 1), (1, 4))
    assert (plan.run.epochs, plan.run.rate) == (5, 0.001), "YAML reads 1e-3 as a word"
    assert plan.core == ("single", "multi/dnn", "multi/shared"), "a plugin's rows too, as the patterns say"
    assert (plan.ablations, plan.ablation_tasks) == (("single/wide",), ("*-4x",))
    assert plan.hp == {"single": {"lr": 0.01}}, "an exact name is that row"
    assert plan.needs["multi/dnn"] == Needs(minutes=7)
    (tour,) = read(grids, "tour")
    assert (tour.seeds, tour.run.epochs, tour.grid.scales) == ((0, 5), 5, (1, 4))
    (smoke,) = read(grids, "smoke")
    assert (smoke.seeds, smoke.grid.scales, smoke.run.epochs) == ((0,), (4,), 1), "the track brings it itself"
    assert (smoke.ablations, smoke.ablation_tasks) == (("single/wide",), ("*",)), "bench check sees every row"


def test_a_row_may_have_other_seeds_than_its_profile(grids):
    grids.write(
        GOOD.replace("      run: *run\n", "      run: *run\n      seeds: {'multi/*': 3, multi/dnn: [0, 7]}\n")
    )
    (plan,) = read(grids, "tour")
    assert plan.seeds_of("single") == (0, 5)
    assert plan.seeds_of("multi/shared") == (0, 1, 2)
    assert plan.seeds_of("multi/dnn") == (0, 7), "of two patterns that match the last one counts"
    assert plan.every_seed == (0, 5, 1, 2, 7)
    cells = {(c.row, c.cell.seed) for c in grids.plan(profile="tour").cells}
    assert {s for r, s in cells if r == "multi/dnn"} == {0, 7}
    assert {s for r, s in cells if r == "single"} <= {0, 5}


def test_a_profile_may_rank_by_another_metric_and_run_fewer_ablations(grids):
    grids.write(
        GOOD.replace('rows: ["single/wide"]', 'rows: ["single/wide", "multi/shared"]').replace(
            "    tour:\n",
            "    tour:\n      ranks_by: loss\n      ablations: {rows: [multi/shared], tasks: [a-1x]}\n",
        )
    )
    (laptop,), (tour,) = read(grids), read(grids, "tour")
    assert (laptop.ranks_by, laptop.ablations) == ("value", ("single/wide", "multi/shared"))
    assert (tour.ranks_by, tour.ablations, tour.ablation_tasks) == ("loss", ("multi/shared",), ("a-1x",))
    assert tour.core == laptop.core == ("single", "multi/dnn"), "an ablation is core nowhere"
    grids.write(GOOD.replace("    tour:\n", "    tour:\n      ranks_by: size\n"))
    with pytest.raises(BenchError, match=f"{re.escape(str(grids.suite))}:27: .*'size' is no quality metric"):
        read(grids, "tour")


@pytest.mark.parametrize(
    ("profile", "only", "said"),
    [
        ("laptp", ("grids",), "no profile 'laptp'; did you mean 'laptop'?"),
        ("laptop", ("gridz",), "no track 'gridz'; did you mean 'grids'?"),
    ],
)
def test_unknown_words_of_the_command_line(grids, profile, only, said):
    with pytest.raises(BenchError, match=re.escape(said)):
        read(grids, profile, only)


def test_a_track_without_the_profile_is_left_out_and_named_if_asked_for(grids):
    grids.write(GOOD.replace("    tour:\n      run: *run\n", ""))
    assert read(grids, "tour", ()) == []
    with pytest.raises(BenchError, match=re.escape("grids has no profile 'tour'; it has laptop, smoke (")):
        read(grids, "tour")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_suite(grids, text):
    grids.write(text)
    with pytest.raises(BenchError, match=re.escape(str(grids.suite))):
        read(grids)


def test_a_suite_that_is_not_there(grids):
    with pytest.raises(BenchError, match=re.escape("--suite nowhere.yaml: no such file")):
        Suite.read("nowhere.yaml")


def test_hyper_parameters_keep_the_type_of_their_default(grids):
    for value, want in (("2", 2.0), ("1e-2", 0.01), ("0.5", 0.5)):
        grids.write(GOOD.replace("lr: 1e-2", f"lr: {value}"))
        (plan,) = read(grids)
        assert plan.hp["single"]["lr"] == want
        assert isinstance(plan.hp["single"]["lr"], float)
    grids.write(GOOD.replace("lr: 1e-2", "model: 3"))
    with pytest.raises(BenchError, match=re.escape("hp.single.model: Input should be a valid string")):
        read(grids)


OURS = Path(__file__).resolve().parents[2] / "bench.yaml"


def test_the_suite_of_the_repository_is_good():
    suite = Suite.read(OURS)
    for profile in suite.profile_names():
        resolve(suite, Registry(), profile)


NEWCOMER = """from bench.contract import method
@method("{track}", name="N", id="newcomer", variants={{"wide": {{}}}})
def f(data, hp, ctx): return 1.0
"""


def test_a_new_file_is_planned_as_core_in_every_track_and_nothing_else_changes(newcomer):
    suite = Suite.read(OURS)
    before = {(p.track.name, f): p for f in suite.profile_names() for p in resolve(suite, Registry(), f)}
    tracks = Registry().track_names()
    for track in tracks:
        newcomer(f"baselines/{track}/newcomer.py", NEWCOMER.format(track=track))
    after = {(p.track.name, f): p for f in suite.profile_names() for p in resolve(suite, Registry(), f)}
    assert {t for t, _ in after} == set(tracks)
    for (track, profile), plan in after.items():
        named = track in suite.tracks and suite.tracks[track].profiles.get(profile)
        brought = () if named and named.rows is not None else ("newcomer", "newcomer/wide")
        was = before[track, profile]
        assert set(plan.core) == {*was.core, *brought}, f"{track}, {profile}"
        assert plan.ablations == was.ablations
    assert all(suite.tracks[t].profiles["laptop"].rows is None for t in suite.tracks)


def test_a_row_that_is_an_ablation_is_core_nowhere_in_our_suite():
    suite = Suite.read(OURS)
    for profile in suite.profile_names():
        for p in resolve(suite, Registry(), profile):
            assert not {*p.core} & {*p.ablations}, f"{p.track.name}, {profile}"
