"""`bench check TRACK`: what a method of it is given, answers and may declare, from the track's own code."""

from dataclasses import fields

import pytest

from bench.cli.method.describe import given_classes
from bench.registry import Registry

#: Per track: what a newcomer has to find, beside what the declarations themselves hold.
TOLD = {
    "embedding_scale": ("methods/multi_embedding.py:", "baselines/embedding_scale/single.py:"),
    "multi_domain": ("methods/d_train.py:", "baselines/multi_domain/separate.py:"),
    "ood": ("methods/clipood.py:", "stages.frozen_features), as in linear-probe, lp-ft, tip-adapter"),
    "dit_transfer": (
        "methods/diff_tuning.py:",
        "stages.bank), as in diff-tuning",
        "null: The label",
    ),
    "controlnet": (
        "methods/diff_tuning_controlnet.py:",
        "stages.bank), as in diff-tuning",
        "baselines/controlnet/controlnet.py:",
    ),
    "forecasting": ("methods/cogdpm.py:", "baselines/forecasting/lagged.py:"),
}


def words(text):
    return " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(Registry().track_names()))
def test_a_track_of_ours_is_described_by_its_declarations(bench, name):
    said = bench("check", name)
    assert said.code == 0, said.err
    track = Registry().track(name)
    assert words(type(track).__doc__) in words(said.out), "what is answered"
    (given,) = given_classes(track)
    for cls in given.__mro__[:-1]:
        assert words(cls.__doc__) in words(said.out), "its bases have fields of it too"
    for f in (*fields(given), *fields(track.Run)):
        assert f"    {f.name}: " in said.out
    for m in track.metrics:
        assert f"    {m.name} ({m.kind}" in said.out
    for text in TOLD[name]:
        assert text in said.out
    assert ", ranks)" in said.out


def test_a_track_that_declares_little_is_described_as_far_as_it_does(sandbox, bench):
    sandbox.use("sampler").of("sampler", ranks_by="distance")
    said = bench(*sandbox.arguments("check", "sampler", store=False))
    assert said.code == 0, said.err
    for text in (
        "sampler: A stub of image generation",
        "data: what Track.load of this track returns; it does not declare the class",
        "steps: int = 6",
        "encoder: One file: where the source domain lies.",
        "@method(…, stages=(bank)), as in banked",
        "bank: One shard of a bank: samples around what the encoder knows.",
        "distance (quality, lower is better, ranks): distance of the means",
        "bench run --plugin FILE -t sampler -m ROW -p smoke",
    ):
        assert text in said.out, text


ANNOTATED = '''

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import fractions as fr
    from fractions import Fraction


@dataclass(frozen=True)
class Near:
    """Close by. ``share``: of all."""

    share: Fraction


@dataclass
class Base:
    """What lies below. ``first``: of all."""

    first: int


@dataclass
class Far(Base):
    near: list[Near]
    other: fr.Fraction

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.near)


class Annotated_(type(TRACK)):
    def load(self, task, run, inputs) -> Near | Far:
        return super().load(task, run, inputs)


TRACK = Annotated_()
'''


def test_the_classes_that_load_returns_are_followed(sandbox, bench):
    stub = sandbox.copy("sampler")
    stub.write_text(stub.read_text() + ANNOTATED)
    sandbox.of("sampler", ranks_by="distance")
    said = bench(*sandbox.arguments("check", "sampler", store=False))
    assert said.code == 0, said.err
    for text in (
        "data: Near (", "Close by. ``share``: of all.", "    share: Fraction", "data: Far (",
        "    near: list[Near]",        "    other: fr.Fraction", "    size: How many there are.",
        "What lies below.", "    first: int",
    ):  # fmt: skip
        assert text in said.out, text
    assert said.out.count("Near (") == 1
