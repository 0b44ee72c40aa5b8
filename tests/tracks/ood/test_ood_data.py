"""What a task of `ood` is made of: emoji cut by family, photographs in the layouts of DomainBed and CoOp."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache

import image_reference as images
import numpy as np
import pytest

from bench.contract import BenchError, digest
from bench.data.drawings import emoji, stamps
from bench.data.drawings.emoji_families import families
from bench.data.images import coop, image_folders, image_sets
from bench.engine.context import RunInputs
from bench.tracks.ood import stages
from bench.tracks.ood.nets import clip
from bench.tracks.ood.settings import Grid, Run
from bench.tracks.ood.sources import emoji as emoji_tasks
from bench.tracks.ood.sources import emoji_split
from bench.tracks.ood.sources import photos as photo_tasks
from bench.tracks.ood.track import TRACK

EMOJI = {t.name: t for t in TRACK.tasks(Grid())}
FURTHER = {"openmoji": {"openmoji-line"}, "noto": set(), "fluent-3d": {"fluent-flat", "fluent-hc"}}
FAMILY = families(emoji.labels())


class Sheets:
    """Folders of the stages that draw a style, built when they are first asked for."""

    def __init__(self, top):
        self.top, self.seed, self.device = top, 0, "cpu"

    def stage(self, name):
        folder = self.top / name
        if not folder.is_dir():
            found = {s.name: s for s in (*emoji.stages(tuple(emoji.STYLES)), *stamps.stages())}[name]

            class Ctx:
                outdir, params = folder, found.params

            folder.mkdir()
            found.build(Ctx)
        return folder


class Built:
    """The context of a method, of which only the folder of a stage is asked for."""

    def __init__(self, folder):
        self.folder = folder

    def stage(self, name):
        return self.folder


def of_seed(sheets, seed):
    """The inputs of a cell of another seed."""
    other = Sheets(sheets.top)
    other.seed = seed
    return other


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    return Sheets(tmp_path_factory.mktemp("sheets"))


#: A sheet takes a tenth of a second and more to decode, and every task asks for several.
decoded = lru_cache(emoji.sheets.read)


@pytest.fixture(scope="module")
def loaded(sheets):
    """Task -> what a method is given, what the scorer keeps; loaded once."""
    done = {}

    def load(name, run=None):
        if (name, run) not in done:
            how = (EMOJI[name], run or Run(), sheets)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(emoji.sheets, "read", decoded)
                done[name, run] = TRACK.load(*how), TRACK.truth(*how)
        return done[name, run]

    return load


def emojis(labelled):
    """Styles and emoji of some pictures."""
    styles, ids = zip(*(i.split("/") for i in labelled.ids), strict=True)
    return set(styles), set(ids)


def ids_of(*sets):
    return [set(s.ids.tolist()) for s in sets]


def files_of(labelled, name):
    """The files of pictures that a method is given, whose ids are digests of the names."""
    named = {digest(f): f for f in image_sets.image_set(name).read().files}
    return [named[i] for i in labelled.ids.tolist()]


def in_families(ids):
    return {FAMILY[i] for i in ids}


# ------------------------------------------------------------------------------------------------------ emoji


@pytest.mark.slow
@pytest.mark.parametrize("name", EMOJI)
def test_emoji_are_apart_by_family_and_by_style(name, loaded):
    data, truth = loaded(name)
    setting, _, target = name.partition("-")
    train_styles, train = emojis(data.train)
    val_styles, val = emojis(data.val)
    sources = {target} if setting == "open" else set(emoji_tasks.ARTISTS) - {target}
    assert train_styles == val_styles == sources == set(data.domains)
    shown = [target, *([] if setting == "open" else sorted(FURTHER[target]))]
    assert [t.name for t in truth.targets] == shown
    tested = set()
    for t in truth.targets:
        styles, ids = emojis(t.labelled)
        assert styles == {t.name}
        tested |= ids
    assert not in_families(train) & in_families(val)
    assert not in_families(train | val) & in_families(tested)
    part = emoji_split.splits(0)
    assert {part[i] for i in train} == {"train"}
    assert {part[i] for i in val} == {"val"}
    assert {part[i] for i in tested} == {"test"}
    pretrained = {i for i in part if part[i] == "pretrain"}
    assert not in_families(train | val | tested) & in_families(pretrained)
    if setting != "open":
        artists = {emoji.STYLES[s].artist for s in sources}
        assert not artists & {emoji.STYLES[t.name].artist for t in truth.targets}
        assert "twitter" not in artists


def test_pictures_are_grouped_by_family_and_only_free_drawings_may_be_printed(loaded):
    for name in ("shift-noto", "shift-fluent-3d", "shift-openmoji"):
        truth = loaded(name)[1]
        target = truth.targets[0].labelled
        assert target.groups.tolist() == [FAMILY[i.partition("/")[2]] for i in target.ids]
        assert 60 < len(set(target.groups)) < len(target)
        assert truth.redistributable == (name != "shift-openmoji")  # CC BY-SA: not for the repository


@pytest.mark.parametrize("name", EMOJI)
def test_emoji_have_the_label_of_their_subcategory(name, loaded):
    data, truth = loaded(name)
    subcategory = {e.id: e.subcategory for e in emoji.labels()}
    for of in (data.train, data.val, *(t.labelled for t in truth.targets)):
        said = [emoji_split.words(subcategory[i.split("/")[1]]) for i in of.ids]
        assert said == [truth.names[y] for y in of.y]
        assert len(set(of.ids.tolist())) == len(of) == len(of.y) == len(of.domain)
    for of in (data.train, data.val):
        assert [data.domains[d] for d in of.domain] == [i.split("/")[0] for i in of.ids]


def test_every_evaluation_emoji_is_tested_at_one_seed_in_five_and_never_trained_on_there(sheets):
    tested = []
    for seed in range(emoji_split.FOLDS):
        how = (EMOJI["open-noto"], Run(), of_seed(sheets, seed))
        data, truth = TRACK.load(*how), TRACK.truth(*how)
        ids = emojis(truth.targets[0].labelled)[1]
        assert not in_families(ids) & in_families(emojis(data.train)[1] | emojis(data.val)[1])
        assert set(truth.targets[0].labelled.y.tolist()) == set(range(len(truth.names)))
        tested.append(ids)
    assert sum(map(len, tested)) == len(set.union(*tested)) > 500
    assert not in_families(set.union(*tested)) & in_families(emoji_split.pretraining())
    again = TRACK.truth(EMOJI["open-noto"], Run(), of_seed(sheets, emoji_split.FOLDS + 1))
    assert emojis(again.targets[0].labelled)[1] == tested[1]


def test_the_order_of_a_target_does_not_follow_its_labels(loaded):
    for name in ("shift-noto", "open-noto"):
        y = loaded(name)[1].targets[0].labelled.y
        assert np.mean(y[1:] == y[:-1]) < 0.2
    first, again = (loaded(n)[1].targets[0].labelled.ids.tolist() for n in ("shift-noto", "wild-noto"))
    assert first == again


def test_classes_are_sorted_and_the_first_half_is_the_base(loaded):
    for name in EMOJI:
        data, truth = loaded(name)
        assert list(truth.names) == sorted(truth.names)
        assert truth.names == loaded("shift-noto")[1].names
        half = len(truth.names) if name.startswith("shift") else math.ceil(len(truth.names) / 2)
        assert truth.base == half
        assert data.classes == truth.names[:half]
        for of in (data.train, data.val):
            assert set(of.y.tolist()) == set(range(half))
        for t in truth.targets:
            assert set(t.labelled.y.tolist()) <= set(range(len(truth.names)))
        assert set(truth.targets[0].labelled.y.tolist()) == set(range(len(truth.names)))


@pytest.mark.parametrize("target", emoji_tasks.ARTISTS)
def test_open_class_has_at_most_16_shots_of_a_class_and_4_for_validation(target, loaded):
    data, _ = loaded(f"open-{target}")
    wild, _ = loaded(f"wild-{target}")  # every emoji of the same families, drawn by another
    of = {"train": (data.train, wild.train, 16, 8), "val": (data.val, wild.val, 4, 2)}
    few, _ = loaded(f"open-{target}", Run(shots=8))
    fewer, _ = loaded(f"open-{target}", Run(shots=2))
    for part, (shots, everything, most, _) in of.items():
        there = Counter(everything.y[everything.domain == 0].tolist())
        assert Counter(shots.y.tolist()) == {c: min(n, most) for c, n in there.items()}
        assert set(getattr(fewer, part).ids.tolist()) < set(shots.ids.tolist())
    assert max(Counter(few.train.y.tolist()).values()) == 8
    assert set(Counter(fewer.train.y.tolist()).values()) == {2}
    assert max(Counter(fewer.val.y.tolist()).values()) == 2


def test_loading_again_gives_the_same_pictures(loaded, sheets):
    for name in ("shift-noto", "open-fluent-3d"):
        data, truth = loaded(name)
        again = TRACK.load(EMOJI[name], Run(), sheets)
        for a, b in ((data.train, again.train), (data.val, again.val), (data.val, truth.val)):
            assert a.ids.tolist() == b.ids.tolist()
            assert np.array_equal(a.y, b.y)
            assert np.array_equal(a.inputs.images, b.inputs.images)
    assert not np.shares_memory(data.val.y, truth.val.y)


def test_pictures_come_whole_for_evaluation_and_cut_for_training(loaded):
    data, _ = loaded("shift-noto")
    read = data.train.inputs.read(np.array([5, 0]))
    assert read.dtype == np.uint8
    assert np.array_equal(read, data.train.inputs.images[[5, 0]])
    (cut,) = data.train.inputs.stream([np.arange(20)], seed=0, first=0)
    assert cut.shape == (20, 64, 64, 3)
    assert str(cut.dtype) == "torch.uint8"
    same = [np.array_equal(a, b) for a, b in zip(cut.numpy(), data.train.inputs.images[:20], strict=True)]
    assert not all(same)


def test_fewer_pictures_are_spread_over_all_domains_and_classes(loaded):
    data, truth = loaded("shift-noto", Run(images=64))
    assert len(data.train) == len(data.val) == 64
    assert [len(t.labelled) for t in truth.targets] == [64]
    assert abs(int((data.train.domain == 0).sum()) - 32) <= 2
    assert len(set(truth.targets[0].labelled.y.tolist())) > 0.7 * len(truth.names)


def test_the_drawing_stages_are_those_of_the_styles_that_come_in_packages():
    of = {n: [s.name for s in TRACK.stages(t, Run())] for n, t in EMOJI.items()}
    assert of["open-noto"] == []
    assert of["shift-noto"] == ["emoji-openmoji"]
    assert of["wild-openmoji"] == ["emoji-openmoji", "emoji-openmoji-line"]


def test_a_task_without_the_encoders_weights_is_blocked_and_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(emoji_tasks, "WEIGHTS", tmp_path / "none.safetensors")
    for task in EMOJI.values():
        why = TRACK.missing(task, Run())
        assert "none.safetensors" in why
        assert "bench artifacts build clip-lite" in why
    (tmp_path / "none.safetensors").write_bytes(b"weights")
    assert TRACK.missing(EMOJI["shift-noto"], Run()) is None
    before = TRACK.fingerprint(EMOJI["shift-noto"], Run())
    assert TRACK.fingerprint(EMOJI["shift-noto"], Run(steps=3)) == before
    assert TRACK.fingerprint(EMOJI["open-noto"], Run()) != before
    import os

    (tmp_path / "none.safetensors").write_bytes(b"other weights")
    os.utime(tmp_path / "none.safetensors", (1, 1))
    assert TRACK.fingerprint(EMOJI["shift-noto"], Run()) != before


STAMPS = TRACK.tasks(Grid(shift=(), open=(), wild=("stamps",)))[0]


def test_a_task_without_stamps_says_where_they_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(stamps, "INSTALLED", tmp_path / "a")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(emoji_tasks, "WEIGHTS", tmp_path)
    stamps._chosen.cache_clear()
    why = TRACK.missing(STAMPS, Run())
    stamps._chosen.cache_clear()
    assert "tuxpaint-stamps-default" in why


@pytest.mark.skipif(stamps.missing() is not None, reason="no stamps here")
def test_stamps_are_one_target_of_both_kinds(sheets):
    data, truth = TRACK.load(STAMPS, Run(), sheets), TRACK.truth(STAMPS, Run(), sheets)
    assert set(data.domains) == set(emoji_tasks.ARTISTS)
    assert emojis(data.train)[0] == set(emoji_tasks.ARTISTS)
    whole, *kinds = (t.labelled for t in truth.targets)
    assert [t.name for t in truth.targets] == ["stamps", "photo", "cartoon"]
    assert sorted(whole.ids.tolist()) == sorted(i for k in kinds for i in k.ids.tolist())
    assert truth.base == math.ceil(len(truth.names) / 2)
    for of in (whole, *kinds):
        assert len(of) > 30
        assert [emoji_split.words(stamps.subcategory(i)) for i in of.ids] == [truth.names[y] for y in of.y]


# ------------------------------------------------------------------------------------------------ photographs


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """The folder of brought data, with a file where CLIP's weights are expected."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "ViT-B-16.pt").write_bytes(b"weights")
    return tmp_path


def task_of(setting, dataset, target=None):
    tasks = photo_tasks.tasks(setting, dataset)
    return next(t for t in tasks if target is None or t.params["target"] == target)


def opened(task, run=None):
    how = (task, run or Run(), RunInputs(None, "cpu"))
    return TRACK.load(*how), TRACK.truth(*how)


def test_domain_shift_leaves_one_domain_out(brought):
    images.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    listed = image_sets.image_set("pacs").read()
    sizes = {"art_painting": 12, "cartoon": 13, "photo": 14, "sketch": 15}
    held_out = {d: int(0.2 * n) for d, n in sizes.items()}
    for at, (target, n) in enumerate(sizes.items()):
        task = task_of("shift", "pacs", target)
        data, truth = opened(task)
        rest = [d for d in sizes if d != target]
        assert data.domains == tuple(rest)
        assert data.classes == truth.names == ("Alarm Clock", "bike", "dog", "horse")
        assert data.template == "a photo of a {}."
        assert np.bincount(data.train.domain).tolist() == [sizes[d] - held_out[d] for d in rest]
        assert np.bincount(data.val.domain).tolist() == [held_out[d] for d in rest]
        (shown,) = truth.targets
        assert len(shown.labelled) == held_out[target]
        _, whole = opened(task, Run(target="in"))
        assert len(whole.targets[0].labelled) == n - held_out[target]
        both = ids_of(shown.labelled, whole.targets[0].labelled)
        both += [set(files_of(of, "pacs")) for of in (data.train, data.val)]
        assert sum(len(b) for b in both) == len(set.union(*both)) == sum(sizes.values())
        assert {i.split("/")[0] for i in both[0] | both[1]} == {target}
        # DomainBed's permutation, from its definition.
        rows = listed.rows(target)
        order = images.permutation(n, f"(0, {at})")
        assert set(shown.labelled.ids) == {listed.files[rows[i]] for i in order[: held_out[target]]}
        folder = {"Alarm Clock": "Alarm_Clock"}
        files = (*(files_of(of, "pacs") for of in (data.train, data.val)), shown.labelled.ids)
        for ids, of in zip(files, (data.train, data.val, shown.labelled), strict=True):
            for i, y in zip(ids, of.y, strict=True):
                assert i.split("/")[1] == folder.get(truth.names[y], truth.names[y])


def test_the_wild_trains_on_the_first_half_and_tests_on_the_whole_target(brought):
    classes = ("Alarm_Clock", "bike", "dog", "horse", "lamp")
    images.folders("office-home", classes=classes)
    image_sets.image_set("office-home").prepare(partial=True)
    data, truth = opened(task_of("wild", "office-home", "Product"))
    assert data.classes == ("Alarm Clock", "bike")  # int(5 / 2): not the open-class rule
    assert (truth.base, len(truth.names)) == (2, 5)
    assert data.domains == ("Art", "Clipart", "Real World")
    base = [6, 7, 9]  # 3 + d of class 0, 3 of class 1
    assert np.bincount(data.train.domain).tolist() == [n - int(0.2 * n) for n in base]
    assert np.bincount(data.val.domain).tolist() == [int(0.2 * n) for n in base]
    assert set(data.train.y.tolist()) == {0, 1}
    assert Counter(truth.targets[0].labelled.y.tolist()) == {0: 5, 1: 3, 2: 3, 3: 3, 4: 3}
    listed = image_sets.image_set("office-home").read()
    rows, order = listed.rows("Art", range(2)), images.permutation(6, "(0, 0, 'base')")
    art = [f for f in files_of(data.val, "office-home") if f.startswith("Art/")]
    assert art == [listed.files[rows[order[0]]]]
    _, again = opened(task_of("wild", "office-home", "Product"), Run(target="in"))
    assert again.targets[0].labelled.ids.tolist() == truth.targets[0].labelled.ids.tolist()


def test_open_class_has_shots_of_the_base_half_and_every_test_picture(brought):
    images.split_file("dtd", classes=5, train=20, val=6, test=3)
    image_sets.image_set("dtd").prepare(partial=True)
    data, truth = opened(task_of("open", "dtd"))
    assert data.template == "{} texture."
    assert data.classes == ("Kind 0", "Kind 1", "Kind 2")
    assert (truth.base, len(truth.names)) == (3, 5)
    assert Counter(data.train.y.tolist()) == dict.fromkeys(range(3), 16)
    assert Counter(data.val.y.tolist()) == dict.fromkeys(range(3), 4)
    assert Counter(truth.targets[0].labelled.y.tolist()) == dict.fromkeys(range(5), 3)
    assert set(data.train.domain.tolist()) == {0}
    sets = [set(files_of(of, "dtd")) for of in (data.train, data.val)] + ids_of(truth.targets[0].labelled)
    assert [{i.split("/")[2].split("_")[0] for i in s} for s in sets] == [{"train"}, {"val"}, {"test"}]
    few, _ = opened(task_of("open", "dtd"), Run(shots=2))
    assert Counter(few.train.y.tolist()) == Counter(few.val.y.tolist()) == dict.fromkeys(range(3), 2)


def test_imagenets_validation_is_of_its_training_pictures(brought):
    images.imagenet(train=24)
    image_sets.image_set("imagenet").prepare(partial=True)
    for setting, base in (("open", 3), ("variant", 5)):
        data, truth = opened(task_of(setting, "imagenet"))
        assert Counter(data.train.y.tolist()) == dict.fromkeys(range(base), 16)
        assert Counter(data.val.y.tolist()) == dict.fromkeys(range(base), 4)
        files = [files_of(of, "imagenet") for of in (data.train, data.val)]
        assert not set.intersection(*map(set, files))
        assert all("/train/" in f for f in [*files[0], *files[1]])
        assert all("/val/" in i for i in truth.targets[0].labelled.ids)
        assert (truth.base, len(truth.targets[0].labelled)) == (base, 10)


@pytest.mark.parametrize("name", ["imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r"])
def test_variants_are_labelled_by_their_folders_also_where_two_classes_have_one_name(
    brought, name, monkeypatch
):
    """ImageNet's list has two classes called missile and two called sunglasses."""
    monkeypatch.setattr(images, "NAMES", ("tench", "missile", "great white shark", "tiger shark", "missile"))
    images.imagenet()
    chosen = [images.IDS[i] for i in (1, 3, 4)] if name in ("imagenet-a", "imagenet-r") else images.IDS
    images.variant(name, chosen)
    for one in ("imagenet", name):
        image_sets.image_set(one).prepare(partial=True)
    data, truth = opened(task_of("variant", name))
    (target,) = truth.targets
    assert data.classes == truth.names == images.NAMES
    assert set(data.train.y.tolist()) == set(range(5))
    assert target.name == name
    expected = [images.IDS.index(i) for i in chosen]
    folders = [i.split("/")[-2] for i in target.labelled.ids]
    at = {str(k): k for k in range(5)} if name == "imagenet-v2" else {i: k for k, i in enumerate(images.IDS)}
    assert [at[f] for f in folders] == target.labelled.y.tolist()
    assert sorted(target.labelled.y.tolist()) == expected
    assert data.template == "a photo of a {}."


def test_photographs_are_read_at_the_encoders_size(brought):
    images.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    data, _ = opened(task_of("shift", "pacs", "photo"), Run(images=5))
    assert len(data.train) == 5
    read = data.train.inputs.read(np.array([3, 1]))
    assert read.shape == (2, 224, 224, 3)
    batches = list(data.train.inputs.stream([np.array([0, 1]), np.array([2, 0])], seed=1, first=4))
    assert [b.shape for b in batches] == [(2, 224, 224, 3)] * 2
    (again,) = data.train.inputs.stream([np.array([2, 0])], seed=1, first=5)
    assert np.array_equal(again, batches[1])


def test_what_is_missing_is_said_with_what_to_do(brought):
    task = task_of("shift", "pacs", "photo")
    assert "no folder PACS" in TRACK.missing(task, Run()) or "pacs" in TRACK.missing(task, Run())
    images.folders("pacs")
    assert "bench data prepare pacs" in TRACK.missing(task, Run())
    with pytest.raises(BenchError, match="bench data prepare pacs"):
        opened(task)
    image_sets.image_set("pacs").prepare(partial=True)
    assert TRACK.missing(task, Run()) is None
    one = TRACK.fingerprint(task, Run())
    assert "no file other.pt" in TRACK.missing(task, Run(weights="clip/other.pt"))
    (brought / "clip" / "ViT-B-16.pt").unlink()
    why = TRACK.missing(task, Run())
    assert "no file ViT-B-16.pt" in why
    assert "BENCH_DATA" in why
    (brought / "clip" / "ViT-B-16.pt").write_bytes(b"other weights")
    assert TRACK.fingerprint(task, Run()) != one
    images.variant("imagenet-r")
    image_sets.image_set("imagenet-r").prepare(partial=True)
    assert TRACK.missing(task_of("variant", "imagenet-r"), Run()).startswith("imagenet: no folder")


def test_the_plan_of_the_paper_lists_every_cell_as_blocked(tmp_path, monkeypatch, bench):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    said = bench("plan", "-p", "paper", "-t", "ood", "--store", str(tmp_path / "store"))
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    assert re.search(r"profile paper: \d+ blocked; \d+ to run when their data are here", words), words
    assert not re.search(r"\d (new|done|failed)", words), words
    for name in (*image_folders.LAYOUTS, *coop.OPEN_CLASS):
        assert f"blocked: {name}: no folder" in words, name


# ------------------------------------------------------------------------------------------- frozen features


def test_the_stage_of_frozen_features_is_of_the_task_and_its_data(brought):
    images.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    one, other = (task_of("shift", "pacs", d) for d in ("photo", "sketch"))
    (a,), (b,) = stages.frozen_features(one, Run()), stages.frozen_features(other, Run())
    assert a.address != b.address
    assert stages.frozen_features(one, Run())[0].address == a.address
    (brought / "clip" / "ViT-B-16.pt").write_bytes(b"other weights")
    assert stages.frozen_features(one, Run())[0].address != a.address


def test_frozen_features_are_those_of_the_encoder(brought, monkeypatch, tmp_path):
    import ood_reference as reference
    import torch

    monkeypatch.setattr(clip, "vit_b16", lambda path: reference.encoder())
    images.folders("pacs")
    image_sets.image_set("pacs").prepare(partial=True)
    task = task_of("shift", "pacs", "photo")
    (stage,) = stages.frozen_features(task, Run())

    class Ctx:
        outdir, params, device, stage = tmp_path, None, "cpu", None

    Ctx.params = stage.params
    stage.build(Ctx)
    data, _ = opened(task)
    train, val = stages.read_features(Built(tmp_path), data, "cpu")
    assert train.shape == (len(data.train), reference.D)
    model = reference.encoder()
    x = model.preprocess(data.val.inputs.read(np.arange(len(data.val))))
    with torch.no_grad():
        assert torch.allclose(val, model.image_features(x), atol=1e-6)
    assert torch.allclose(val.norm(dim=1), torch.ones(len(data.val)))


def test_frozen_features_serve_every_seed(sheets, monkeypatch, tmp_path):
    import ood_reference as reference
    import torch

    monkeypatch.setattr(emoji_tasks, "encoder", lambda run: reference.encoder())
    task, run = EMOJI["open-noto"], Run(images=16)
    (stage,) = stages.frozen_features(task, run)

    class Ctx:
        outdir, params, device, stage = tmp_path, None, "cpu", sheets.stage

    Ctx.params = stage.params
    stage.build(Ctx)
    with torch.no_grad():
        for seed in (0, 3):
            data = TRACK.load(task, run, of_seed(sheets, seed))
            train, val = stages.read_features(Built(tmp_path), data, "cpu")
            for features, pictures in ((train, data.train), (val, data.val)):
                x = reference.encoder().preprocess(pictures.inputs.read(np.arange(len(pictures))))
                assert torch.allclose(features, reference.encoder().image_features(x), atol=1e-5)


def test_splits_of_a_domain_have_the_rule_of_domainbed():
    portions = image_folders.split(101, 0, 2)
    assert len(portions.outside) == 20
    assert sorted([*portions.inside, *portions.outside]) == list(range(101))
