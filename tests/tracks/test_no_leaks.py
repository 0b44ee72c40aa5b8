"""Nothing that a method is given leads to a test picture's name or to a test label, on every track."""

from __future__ import annotations

import functools
import gzip
import logging
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import controlnet_brought
import ctr_reference
import dit_transfer_brought
import field_reference
import image_reference
import numpy as np
import pandas as pd
import pytest
import rating_reference
import xarray as xr
from leak_walker import leaks

from bench.contract import Task
from bench.data import catalog
from bench.data.anonymous import ImageFiles, mapped
from bench.data.fields import frames as fields_of
from bench.data.fields import nimrod, radar
from bench.data.images import image_sets
from bench.data.images.pictures import Evaluation, decode
from bench.data.tables import ctr_prepare, ratings
from bench.data.transfer import sets as transfer_sets
from bench.engine.context import RunInputs, RunStageContext
from bench.registry import Registry
from bench.tracks.controlnet import pretrain, scoring
from bench.tracks.controlnet.nets import paper_annotators
from bench.tracks.controlnet.sources import paper as controlnet_photographs
from bench.tracks.controlnet.sources import photographs
from bench.tracks.dit_transfer.sources import paper
from bench.tracks.dit_transfer.sources.latents import AdmCrop
from bench.tracks.forecasting.sources import radar as rain_of
from bench.tracks.multi_domain.sources import emoji as emoji_task
from bench.tracks.multi_domain.sources import photos as multi_domain_photos
from bench.tracks.ood.sources import emoji as emoji_tasks
from bench.tracks.ood.sources import photos as photo_tasks

#: Without stages: sets of drawings are then drawn here.
INPUTS = SimpleNamespace(seed=None, device="cpu", stage=None)
IMAGES = (".jpg", ".jpeg", ".png", ".JPEG")
TARGET = dit_transfer_brought.TARGET
TRACKS = {name: Registry().track(name) for name in Registry().track_names()}


@dataclass
class Case:
    """A task: how its data are brought, and which files it may name.

    ``truth``: whether the track keeps labels of pictures that a method is asked about.
    """

    track: str
    task: Task
    run: Any
    bring: Callable[[Path], Any] = lambda root: None
    truth: bool = True
    allowed: Callable[[], Sequence[Path]] = tuple


def case(track, task, bring=None, grid=None, *, allowed=None, truth=True, **run):
    own = TRACKS[track]
    if isinstance(task, str):
        task = next(t for t in own.tasks(own.Grid(**(grid or {}))) if t.name == task)
    return Case(track, task, own.Run(**run), bring or (lambda root: None), truth, allowed or tuple)


# ---------------------------------------------------------------------------- data sets in their real layouts


def clip(root: Path) -> None:
    (root / "clip").mkdir()
    (root / "clip" / "ViT-B-16.pt").write_bytes(b"weights")


def resnet(root: Path) -> None:
    (root / "timm").mkdir()
    for n in ("50", "101"):
        (root / "timm" / f"resnet{n}.safetensors").write_bytes(b"weights")


def folders(name: str, weights) -> Callable[[Path], None]:
    def bring(root):
        weights(root)
        image_reference.folders(name, images=15)
        image_sets.image_set(name).prepare(partial=True)

    return bring


def few_shot(root: Path) -> None:
    clip(root)
    image_reference.split_file("dtd", classes=5, train=20, val=6, test=4)
    image_sets.image_set("dtd").prepare(partial=True)


def variant(root: Path) -> None:
    clip(root)
    image_reference.imagenet()
    folder = image_reference.variant("imagenet-r")
    for i, wnid in enumerate(image_reference.IDS):
        for k in range(1 + i):
            image_reference.picture(next(folder.rglob(wnid)) / f"more_{i}_{k}.jpg")
    for name in ("imagenet", "imagenet-r"):
        image_sets.image_set(name).prepare(partial=True)


def satellites(root: Path) -> None:
    resnet(root)
    rating_reference.satellites()
    image_sets.image_set("fmow").prepare(partial=True)


def amazon(root: Path) -> None:
    rating_reference.write_ratings()
    ratings.prepare(partial=True)


def log_of(name: str) -> Callable[[Path], None]:
    def bring(root):
        ctr_reference.write(root / name / "train.txt", name, 600)
        ctr_prepare.prepare(name, partial=True)

    return bring


def sequences(root: Path) -> None:
    (root / "moving-mnist").mkdir()
    drawn = np.random.default_rng(0).integers(0, 256, (20, 120, 64, 64), np.uint8)
    np.save(root / "moving-mnist" / "mnist_test_seq.npy", drawn)


def rainy(task: str) -> Callable[[Path], None]:
    """Rain in every cell, as it is prepared: for `rain` as wide as its splits by longitude want."""

    def bring(root):
        frames, rows, columns = (18, 32, 1728) if task == "rain" else (46, 64, 96)
        rain = 1 + np.random.default_rng(0).random((frames, 1, rows, columns))
        every = np.timedelta64(rain_of.minutes(task), "m")
        time = np.datetime64("2019-06-10", "ns") + np.arange(frames) * every
        event = fields_of.event(rain, name="one", units="mm/h", components=("rain",), time=time)
        radar._written(rain_of.DATA[task], [event], [], True)

    return bring


def crops(root: Path) -> None:
    """Two sequences of UK radar a part, in their publisher's layout, with other rain in every cell."""
    drawn = np.random.default_rng(0)
    for folder, side in nimrod.VARIANTS.values():
        place = catalog.CATALOG["nimrod"].folder / folder
        place.mkdir(parents=True)
        records = [
            field_reference.sequence(side, drawn.integers(32, 400, (nimrod.FRAMES, side, side)), day=day)
            for day in (1, 2)
        ]
        (place / "seq-24.tfrecord.gz").write_bytes(gzip.compress(field_reference.framed(*records), 1))
    catalog.CATALOG["nimrod"].open().prepare()


def shot(setting: str, dataset: str) -> Task:
    return photo_tasks.tasks(setting, dataset)[-1]


def logged() -> Task:
    return Task(name="criteo-1x", params={"dataset": "criteo", "scale": 1})


def weights(dataset):
    """The file of the network that all rows start from: no picture's."""
    return lambda: (multi_domain_photos.weights(dataset, TRACKS["multi_domain"].Run()),)


def of_controlnet() -> Sequence[Path]:
    """Folders of networks, and of training pictures as latents with their conditions."""
    root = catalog.root()
    prepared = root.parent / "stages" / controlnet_photographs.PREPARED
    shards = [prepared / str(k) for k in range(controlnet_photographs.SHARDS)]
    files = (s / name for s in shards for name in ("latents.npy", "maps.zip"))
    return [root / controlnet_brought.RUN.diffusion, *shards, *files]


LAPTOP = {
    **{f"embedding_scale-{d}": case("embedding_scale", f"{d}-1x", grid={"datasets": (d,)}, rows=3_000)
       for d in ("planted", "flights-day", "insteval", "flights", "movielens")},
    **{f"multi_domain-{d}": case("multi_domain", d, grid={"datasets": (d,)}, rows=60)
       for d in ("digits", "digits-unequal", "emoji", "insteval", "flights")},
    **{f"ood-{s}": case("ood", f"{s}-noto", images=120) for s in ("shift", "open", "wild")},
    "dit_transfer-flags": case("dit_transfer", "flags", truth=False),
    **{f"forecasting-{t}": case("forecasting", t, grid={"tasks": (t,)})
       for t in ("digits", "turbulence", "wind")},
    # Not storm: a window of it is shown what the one before is asked for, as its board says.
    # With what lies around their windows, of which rows that move rain are shown the past.
    **{f"forecasting-{t}": case("forecasting", t, rainy(t), {"tasks": (t,)}) for t in ("rain", "radar")},
    "controlnet-segmentation": case(
        "controlnet", "segmentation", allowed=lambda: (pretrain.weights("photo"),), reader=30
    ),
}  # fmt: skip
PAPER = {
    "embedding_scale-criteo": case("embedding_scale", logged(), log_of("criteo")),
    "multi_domain-office-home": case(
        "multi_domain", "office-home", folders("office-home", resnet), {"datasets": ("office-home",)},
        allowed=weights("office-home"),
    ),
    "multi_domain-fmow": case(
        "multi_domain", "fmow", satellites, {"datasets": ("fmow",)}, allowed=weights("fmow")
    ),
    "multi_domain-amazon": case("multi_domain", "amazon", amazon, {"datasets": ("amazon",)}),
    "ood-shift": case("ood", shot("shift", "pacs"), folders("pacs", clip)),
    "ood-wild": case("ood", shot("wild", "office-home"), folders("office-home", clip)),
    "ood-open": case("ood", shot("open", "dtd"), few_shot),
    "ood-variant": case("ood", shot("variant", "imagenet-r"), variant),
    "forecasting-moving-mnist": case(
        "forecasting", "moving-mnist", sequences, {"tasks": ("moving-mnist",)}
    ),
    "forecasting-uk-radar": case("forecasting", "uk-radar", crops, {"tasks": ("uk-radar",)}),
    "controlnet-coco-edge": Case(
        "controlnet", controlnet_brought.task("coco-edge"), controlnet_brought.RUN,
        bring=controlnet_brought.bring, allowed=of_controlnet,
    ),
    "dit_transfer-artbench": Case(
        "dit_transfer", Task(name=TARGET, params={"target": TARGET}), dit_transfer_brought.RUN,
        bring=dit_transfer_brought.bring, truth=False,
    ),
}  # fmt: skip


def test_every_track_has_cases_of_both_kinds():
    for cases in (LAPTOP, PAPER):
        assert {c.track for c in cases.values()} == set(TRACKS), "a track is not looked at: add cases of it"


# --------------------------------------------------------------------------------------------- what is secret


def secrets_of(case: Case, truth: Any) -> list[np.ndarray]:
    """Labels, as numbers and as names, or pictures of the test part."""
    match case.track:
        case "embedding_scale" | "multi_domain":
            return [truth.test_y]
        case "forecasting":
            return [truth.test.to_numpy()]
        case "controlnet":
            return [truth.real]
        case "ood":
            of = [(t.labelled.y, np.array(truth.names)[t.labelled.y]) for t in truth.targets]
            return [array for pair in of for array in pair]
        case "dit_transfer" if case.task.name in image_sets.PUBLISHER_LAYOUTS:
            return [
                decode(image_sets.publisher_set(case.task.name).read().only("test").paths(), AdmCrop(256))
            ]
        case "dit_transfer":
            found = transfer_sets.read(case.task.name)
            return [found.images[found.part == "test"]]
    raise AssertionError(f"no rule says what is secret of {case.track}")


def known_of(data: Any) -> list[np.ndarray]:
    """Labels of training and validation, and domains: given on purpose."""
    found = []
    for part in ("train", "val", "test"):
        labelled = getattr(data, part, None)
        found += [getattr(labelled, f) for f in ("y", "domain") if hasattr(labelled, f)]
    return found + [getattr(data, f) for f in ("train_y", "val_y", "y") if hasattr(data, f)]


def names_below(root: Path) -> set[str]:
    """Files of pictures and the folders that they lie in; not the data sets' own."""
    pictures = [p.relative_to(root) for p in root.rglob("*") if p.suffix in IMAGES]
    return {p.name for p in pictures} | {part for p in pictures for part in p.parts[1:-1]}


def loaded(case: Case, root: Path) -> tuple[Any, Any]:
    case.bring(root)
    track = TRACKS[case.track]
    inputs = SimpleNamespace(**{**vars(INPUTS), "seed": 0}) if track.split_per_seed else INPUTS
    if case.track == "dit_transfer" and case.task.name in image_sets.PUBLISHER_LAYOUTS:
        (stage,) = paper.stages(case.task, case.run)
        out = root.parent / "latents"
        out.mkdir()
        stage.build(RunStageContext(out, stage.params, 0, 0, "cpu", logging.getLogger("test"), {}))
        inputs = RunInputs(None, "cpu", {stage.name: out})
    if case.track == "controlnet":
        stages = track.stages(case.task, case.run)
        inputs = RunInputs(None, "cpu", controlnet_brought.built(stages, root.parent / "stages"))
    truth = track.truth(case.task, case.run, inputs) if case.truth else None
    return track.load(case.task, case.run, inputs), truth


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    for module in (emoji_task, emoji_tasks):
        monkeypatch.setattr(module, "ARTISTS", ("noto", "fluent-3d"))  # those that need no drawing
    monkeypatch.setattr(paper_annotators, "canny", controlnet_brought.lines)
    monkeypatch.setattr(photographs, "COUNTS", controlnet_brought.COUNTS)
    monkeypatch.setattr(scoring, "lite0", lambda size, device: lambda p: np.zeros((len(p), 1280), np.float32))
    return tmp_path / "data"


@pytest.mark.parametrize("name", [*LAPTOP, *(f"paper-{n}" for n in PAPER)])
def test_what_a_method_is_given_leads_to_no_test_picture_and_no_test_label(name, root):
    case = LAPTOP.get(name) or PAPER[name.removeprefix("paper-")]
    data, truth = loaded(case, root)
    secrets = secrets_of(case, truth)
    for secret in secrets:
        assert secret.size >= 9, "too short: it would be found by chance"
        assert len(np.unique(secret)) > 1
    # The settings name the files of networks below the root, and a method has the settings as `ctx.run`.
    told = {str(getattr(case.run, f.name)) for f in fields(case.run)} | set(map(str, case.allowed()))
    assert leaks(
        data, secrets=secrets, known=known_of(data), root_folder=root, names=names_below(root), allowed=told
    ) == []  # fmt: skip


@pytest.mark.parametrize("name", [*PAPER, *(n for n in LAPTOP if n.startswith("ood-"))])
def test_the_place_of_a_test_example_does_not_tell_its_label(name, root):
    case = {**PAPER, **LAPTOP}[name]
    if not case.truth:
        pytest.skip("no test picture is asked about")
    if case.track == "forecasting":
        pytest.skip("fields have no labels")
    _, truth = loaded(case, root)
    for y in (s for s in secrets_of(case, truth) if s.dtype.kind != "U"):
        _, counts = np.unique(y, return_counts=True)
        agree, by_chance = np.mean(y[1:] == y[:-1]), np.sum((counts / len(y)) ** 2)
        # The order is drawn from a fixed seed: sorted by label, all but a few neighbours would agree.
        assert agree < (1 + by_chance) / 2


# -------------------------------------------------------------------------------- the walker finds what leaks


Y = np.array([2, 0, 1, 1, 3, 0, 2, 2, 1, 3, 0, 1])


class Slots:
    __slots__ = ("hidden",)

    def __init__(self, value):
        self.hidden = value


class Computed:
    def __init__(self, value):
        self._get = lambda: value

    @property
    def files(self):
        return self._get()


@dataclass(frozen=True, slots=True)
class Frozen:
    inner: Any


def closure(value):
    return lambda: value


def default(value):
    def f(x=value):
        return x

    return f


def frame(value):
    def made():
        same = value
        yield 1
        yield same

    found = made()
    next(found)
    return found


def tabled(value):
    table = pd.DataFrame({"x": [1.0]})
    table.attrs["source"] = value
    return table


def objects(value):
    array = np.empty(2, object)
    array[0] = value
    return array


def bound(value):
    return Slots(value).__init__


#: Ways in which something can be given that is not said.
WAYS = {
    "attribute": lambda v: SimpleNamespace(deep=SimpleNamespace(files=v)),
    "slot": Slots,
    "property": Computed,
    "dataclass": lambda v: Frozen(Frozen(v)),
    "closure": closure,
    "default": default,
    "partial": lambda v: functools.partial(print, v),
    "keyword of a partial": lambda v: functools.partial(print, end=functools.partial(print, sep=v)),
    "bound method": bound,
    "generator": lambda v: (x for x in [v]),
    "frame of a generator": frame,
    "iterator": lambda v: iter([v]),
    "nested dict and list": lambda v: {"a": [{"b": (1, [v])}]},
    "key": lambda v: {(1, v): 2} if not isinstance(v, np.ndarray) else {1: v},
    "array of objects": objects,
    "attribute of a table": tabled,
    "attribute of an xarray": lambda v: xr.DataArray(np.zeros(2), attrs={"source": v}),
    "attribute of a function": lambda v: vars(f := closure(0)).update(files=v) or f,
}


@pytest.fixture
def picture(root):
    path = root / "PACS" / "photo" / "dog" / "pic_9.jpg"
    image_reference.picture(path)
    return path


def found_in(value, root):
    return leaks(value, secrets=[Y], root_folder=root, names=names_below(root))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["path", "text", "part of a path", "bytes", "labels"])
def test_what_leaks_is_found(way, what, root, picture):
    value = {
        "path": picture, "text": str(picture), "part of a path": "photo/dog/another.jpg",
        "bytes": str(picture).encode(), "labels": Y.copy(),
    }[what]  # fmt: skip
    assert found_in(WAYS[way](value), root), f"{what} in a {way} is not found"
    assert found_in(WAYS[way]("a photo of a dog."), root) == []
    assert found_in(WAYS[way](Y[::-1][:-1].copy()), root) == []


@pytest.mark.parametrize(
    "labels",
    [
        Y.astype(np.float32), np.sort(Y), np.concatenate([[1, 1], Y, [0]]), Y.tolist(),
        np.stack([Y, Y * 0], 1), pd.DataFrame({"x": Y * 0, "y": Y}), pd.Series(Y), xr.DataArray(Y, dims="n"),
        np.concatenate([[1, 1], Y, [0]])[:2],
    ],
    ids=["float", "sorted", "longer", "list", "column", "table", "series", "xarray", "base of a view"],
)  # fmt: skip
def test_labels_are_found_in_any_clothes(labels, root):
    assert found_in({"x": labels}, root)


def test_a_memory_map_has_its_files_name_and_a_nameless_one_has_not(root):
    (root / "prepared").mkdir()
    path = root / "prepared" / "x.npy"
    for values in (np.arange(5_000, dtype=np.int32).reshape(-1, 2), np.asfortranarray(np.eye(3))):
        np.save(path, values)
        assert found_in(np.load(path, mmap_mode="c")[1:], root)
        ours = mapped(path, "c")
        assert found_in(ours[1:], root) == []
        assert np.array_equal(ours, values)
        ours[:] = 0
        assert np.array_equal(mapped(path, "r"), values)
        assert not mapped(path, "r").flags.writeable


def test_nameless_images_are_read_by_position_also_in_another_process(root):
    paths = [root / "set" / f"class_{i}" / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        image_reference.picture(path, 40 * i)
    files, view = ImageFiles(paths), Evaluation(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert found_in(files, root) == []
    assert found_in(paths, root)
    for these in (files, pickle.loads(pickle.dumps(files))):
        assert len(these) == 5
        read = these.decode(np.array([3, 0]), view)
        assert np.array_equal(read, decode([paths[3], paths[0]], view))
        batches = list(these.stream([np.array([3]), np.array([0])], view, seed=0, first=0))
        assert np.array_equal(np.concatenate(batches), read)
