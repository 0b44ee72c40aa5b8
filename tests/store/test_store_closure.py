"""What a cell can reach: which edits of code change it, which do not, whatever way a name is reached."""

from __future__ import annotations

import ast
import importlib
import random
import sys
from pathlib import Path

import pytest

from bench.store.closure import Code, changes, unpack_listing
from bench.store.names import Start

TRACK = Start("bench.tracks.demo.track", "Demo")
FILES = {
    "tracks/demo/__init__.py": '"""A track."""\n',
    "tracks/demo/track.py": '''
"""The track."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contract import Metric, Track
from bench.tracks.demo import settings
from bench.tracks.demo.helpers import SCALE, scaled

if TYPE_CHECKING:
    from bench.tracks.demo.unused import Annotated

_DOC = "shown"


class Demo(Track):
    """Says what is asked."""

    name = "demo"
    title = "A demonstration"
    metrics = (Metric(name="value", better="higher", digits=3, unit="m", doc=_DOC),)
    Run = settings.Run
    Grid = settings.Grid
    by_value = ("RECIPES",)

    def tasks(self, grid):
        return [planned(grid)]

    def load(self, task, run, inputs: Annotated):
        return scaled(settings.recipe(task.name), SCALE)

    def score(self, task, answer, kept, history):
        return self.judged(answer)

    def judged(self, answer):
        from bench.nn.measure import distance

        return distance(answer)


def planned(grid):
    return grid


TRACK = Demo()
''',
    "tracks/demo/settings.py": """
from dataclasses import dataclass


@dataclass
class Grid:
    targets: tuple = ()


@dataclass
class Run:
    steps: int = 3

    def doubled(self):
        return self.steps * 2


RECIPES = {"a": 1, "b": 2}


def recipe(name):
    return RECIPES[name]
""",
    "tracks/demo/helpers.py": """
import math as m

SCALE = 2.0
OTHER = 3.0


def scaled(x, by):
    return inner(x) * by


def inner(x):
    return m.sqrt(x) + Constants.SHIFT


class Constants:
    SHIFT = 1.0


def unused(x):
    return OTHER
""",
    "tracks/demo/unused.py": "class Annotated:\n    x = 1\n",
    "nn/__init__.py": "",
    "nn/measure.py": """
from .parts import kernel
from .parts import *


def distance(x):
    return kernel(x) - starred(x) + [kernel(y) for y in (1, 2)][0]
""",
    "nn/parts.py": """
POWER = 2


def kernel(x, power=POWER):
    return x**power


def starred(x):
    return x


def lonely(x):
    return x
""",
    "methods/mine.py": """
from bench import contract
from bench.contract import method
from bench.nn import parts

NEEDS = contract.Needs(minutes=1)


@method("demo", name="Mine", hp={"model": "one"}, needs=NEEDS)
def mine(data, hp, ctx):
    return network(hp["model"]).Net(parts.kernel(data))


def network(name):
    import importlib

    return importlib.import_module(f"bench.tracks.demo.nets.{name}")


for name in ("a", "b"):
    method("demo", name=name, id=name)(mine)
""",
    "tracks/demo/nets/__init__.py": "",
    "tracks/demo/nets/one.py": "class Net:\n    width = 1\n",
    "tracks/demo/nets/two.py": "class Net:\n    width = 2\n",
}
MINE = Start("bench.methods.mine", "mine")


class House:
    """A tree of code in a folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "bench"
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert text.count(old) == 1, (name, old)
        self.write(name, text.replace(old, new))

    def pairs(self, *starts: Start, words=("one",), by_value=("RECIPES",)):
        code = Code({}, [self.root])
        found = code.reached(starts or (MINE,), TRACK, frozenset(by_value), frozenset(words))
        assert unpack_listing(found.listing) == found.pairs
        return found.pairs

    def names(self, *starts: Start) -> set[str]:
        return {name for name, _ in self.pairs(*starts)}


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return House(tmp_path)


def test_what_is_reached_by_name_and_nothing_else(house):
    assert house.names() == {
        "mine", "network", "Net", "kernel", "POWER", "Demo", "Demo.name", "Demo.metrics", "Demo.load", "Demo.score",
        "Demo.judged", "recipe", "name", "scaled", "inner", "SCALE", "Constants", "distance", "starred", "(statement)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tracks/demo/track.py", '"""Says what is asked."""', '"""Said otherwise."""  # and a comment'),
        ("tracks/demo/track.py", '"A demonstration"', '"Another title"'),
        ("tracks/demo/track.py", '_DOC = "shown"', '_DOC = "told"'),
        ("tracks/demo/track.py", "digits=3", "digits=4"),
        ("tracks/demo/track.py", 'unit="m"', 'unit="km"'),
        ("tracks/demo/track.py", "planned(grid)]", "planned(grid), planned(grid)]"),
        ("tracks/demo/track.py", "    return grid", "    return [grid]"),
        ("tracks/demo/track.py", "inputs: Annotated", "inputs: Annotated "),
        ("tracks/demo/settings.py", '"b": 2', '"b": 3'),
        ("tracks/demo/settings.py", "steps: int = 3", "steps: int = 4\n    batch: int = 8"),
        ("tracks/demo/settings.py", "targets: tuple = ()", 'targets: tuple = ("x",)'),
        ("tracks/demo/helpers.py", "    return OTHER", "    return OTHER + 1"),
        ("tracks/demo/helpers.py", "OTHER = 3.0", "OTHER = 4.0"),
        (
            "tracks/demo/helpers.py",
            "def scaled(x, by):\n",
            "def scaled(x, by):\n    'A docstring.'\n    # why\n",
        ),
        ("tracks/demo/unused.py", "x = 1", "x = 2"),
        ("nn/parts.py", "def lonely(x):\n    return x", "def lonely(x):\n    return -x"),
        ("nn/parts.py", "POWER = 2\n", "POWER = 2\n\n\ndef fresh(x):\n    return POWER\n"),
        ("methods/mine.py", "minutes=1", "minutes=2"),
        ("methods/mine.py", 'name="Mine"', 'name="Yours"'),
        ("methods/mine.py", '"model": "one"', '"model": "two"'),
        ("tracks/demo/nets/two.py", "width = 2", "width = 4"),
    ],
)
def test_edits_that_change_no_number(house, file, old, new):
    before = house.pairs()
    house.change(file, old, new)
    assert house.pairs() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            "tracks/demo/track.py",
            "return self.judged(answer)",
            "return -self.judged(answer)",
            "Demo.score changed",
        ),
        ("tracks/demo/track.py", 'better="higher"', 'better="lower"', "Demo.metrics changed"),
        (
            "tracks/demo/track.py",
            "return distance(answer)",
            "return distance(answer) + 1",
            "Demo.judged changed",
        ),
        ("tracks/demo/settings.py", "return RECIPES[name]", "return RECIPES[name] + 1", "recipe changed"),
        ("tracks/demo/helpers.py", "SCALE = 2.0", "SCALE = 2.5", "SCALE changed"),
        ("tracks/demo/helpers.py", "SHIFT = 1.0", "SHIFT = 1.5", "Constants changed"),
        ("tracks/demo/helpers.py", "m.sqrt(x)", "m.exp(x)", "inner changed"),
        ("nn/parts.py", "POWER = 2", "POWER = 3", "POWER changed"),
        ("nn/parts.py", "def starred(x):\n    return x", "def starred(x):\n    return -x", "starred changed"),
        ("nn/measure.py", "- starred(x)", "", "distance changed"),
        ("tracks/demo/nets/one.py", "width = 1", "width = 3", "Net changed"),
        ("methods/mine.py", "parts.kernel(data)", "parts.kernel(-data)", "mine changed"),
        ("nn/parts.py", "POWER = 2\n", "POWER = 2\nprint('run at import')\n", "(statement) changed"),
        ("nn/parts.py", "POWER = 2\n", "POWER = 2\nPOWER += 1\n", "POWER changed"),
        ("nn/parts.py", "POWER = 2\n", "if 1 > 2:\n    POWER = 2\nelse:\n    POWER = 4\n", "POWER changed"),
    ],
)
def test_edits_that_may_change_a_number_are_told_by_name(house, file, old, new, told):
    before = house.pairs()
    house.change(file, old, new)
    assert told in changes(before, house.pairs())


def test_a_move_and_a_split_change_nothing(house):
    before = house.pairs()
    text = (house.root / "tracks/demo/helpers.py").read_text()
    house.write("nn/moved.py", text.replace("class Constants:\n    SHIFT = 1.0\n", ""))
    house.change("nn/moved.py", "SCALE = 2.0", "from bench.nn.constants import Constants\n\nSCALE = 2.0")
    house.write("nn/constants.py", "class Constants:\n    SHIFT = 1.0\n")
    (house.root / "tracks/demo/helpers.py").unlink()
    house.change(
        "tracks/demo/track.py", "from bench.tracks.demo.helpers import", "from bench.nn.moved import"
    )
    assert house.pairs() == before


def test_a_file_that_re_exports_changes_nothing(house):
    before = house.pairs()
    house.write("nn/parts_of.py", (house.root / "nn/parts.py").read_text())
    house.write("nn/parts.py", "from bench.nn.parts_of import POWER, kernel, lonely, starred\n")
    assert house.pairs() == before


#: Ways to reach a definition: the body of a method's file, and the names that must be in its closure.
WAYS = {
    "import as": ("import bench.nn.parts as p\n\ndef mine(d, h, c):\n    return p.kernel(d)\n", {"kernel"}),
    "import": ("import bench.nn.parts\n\ndef mine(d, h, c):\n    return bench.nn.parts.kernel(d)\n", {"kernel"}),
    "in a function": ("def mine(d, h, c):\n    from bench.nn import parts\n    return parts.kernel(d)\n", {"kernel"}),
    "handed around": (
        "from bench.nn import parts\n\ndef mine(d, h, c):\n    return use(parts)\n\ndef use(m):\n    return m.kernel(1)\n",
        {"kernel", "use"},
    ),
    "by getattr": ("from bench.nn import parts\n\ndef mine(d, h, c):\n    return getattr(parts, 'kernel')(d)\n", {"kernel"}),
    "all by globals": ("def other(x):\n    return x\n\ndef mine(d, h, c):\n    return globals()[h['f']](d)\n", {"other"}),
    "module by computed name": (
        "from importlib import import_module\n\ndef mine(d, h, c):\n    return import_module('bench.nn.' + h['m']).kernel(d)\n",
        {"kernel", "lonely", "distance"},
    ),
    "string with a module": ("def mine(d, h, c):\n    return load('bench.nn.parts:lonely')\n\ndef load(x):\n    return x\n", {"lonely"}),
    "decorator": ("from bench.nn.parts import kernel as k\n\n@k\ndef mine(d, h, c):\n    return d\n", {"kernel"}),
    "default": ("from bench.nn.parts import kernel\n\ndef mine(d, h, c, f=kernel):\n    return f(d)\n", {"kernel"}),
    "base class": ("from bench.nn.parts import kernel as B\n\nclass A(B):\n    pass\n\ndef mine(d, h, c):\n    return A()\n", {"A", "kernel"}),
    "class attribute": ("from bench.nn.parts import kernel\n\nclass A:\n    f = kernel\n\ndef mine(d, h, c):\n    return A.f\n", {"A", "kernel"}),
    "field's annotation": ("from bench.nn.parts import kernel\n\nclass A:\n    x: kernel\n\ndef mine(d, h, c):\n    return A\n", {"kernel"}),
    "lambda": ("from bench.nn.parts import kernel\n\nF = lambda x: kernel(x)\n\ndef mine(d, h, c):\n    return F(d)\n", {"F", "kernel"}),
    "table": ("from bench.nn import parts\n\nT = {'a': parts.kernel}\n\ndef mine(d, h, c):\n    return T[h['a']](d)\n", {"T", "kernel"}),
    "partial": ("from functools import partial\nfrom bench.nn.parts import kernel\n\nP = partial(kernel, power=1)\n\ndef mine(d, h, c):\n    return P(d)\n", {"kernel"}),
    "try": ("try:\n    from bench.nn.parts import kernel as k\nexcept ImportError:\n    k = None\n\ndef mine(d, h, c):\n    return k(d)\n", {"kernel"}),
    "comprehension": ("from bench.nn.parts import kernel\n\ndef mine(d, h, c):\n    return [kernel(kernel) for x in d]\n", {"kernel"}),
    "name bound in a comprehension too": ("from bench.nn.parts import kernel\n\ndef mine(d, h, c):\n    [kernel for kernel in d]\n    return kernel(d)\n", {"kernel"}),
    "method of a class": ("from bench.nn.parts import kernel\n\nclass A:\n    kernel = 1\n    def f(self):\n        return kernel(1)\n\ndef mine(d, h, c):\n    return A().f()\n", {"kernel"}),
    "global": ("X = 1\n\ndef mine(d, h, c):\n    global X\n    X = X + 1\n    return X\n", {"X"}),
    "match": ("from bench.nn.parts import POWER\n\ndef mine(d, h, c):\n    match d:\n        case x if x == POWER:\n            return x\n", {"POWER"}),
    "f-string": ("from bench.nn.parts import POWER\n\ndef mine(d, h, c):\n    return f'{POWER}'\n", {"POWER"}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_reach_a_definition(house, way):
    body, names = WAYS[way]
    house.write("methods/mine.py", body)
    assert names <= house.names(), way


#: Code that looks as if it reached ``kernel`` and does not.
ELSEWHERE = {
    "argument": "from bench.nn.parts import lonely as kernel_, POWER\n\ndef mine(kernel, hp, ctx):\n    return kernel(1)\n",
    "local variable": "from bench.nn.parts import kernel\n\ndef mine(data, hp, ctx):\n    kernel = 1\n    return kernel\n",
    "walrus": "from bench.nn.parts import kernel\n\ndef mine(d, h, c):\n    return (kernel := 2)\n",
    "loop": "from bench.nn.parts import kernel\n\ndef mine(d, h, c):\n    for kernel in d:\n        print(kernel)\n",
    "annotation": "from bench.nn.parts import kernel\n\ndef mine(d: kernel, h, c) -> kernel:\n    x: kernel = 1\n    return x\n",
    "attribute": "from bench.nn.parts import kernel\n\ndef mine(d, h, c):\n    return d.kernel\n",
}


@pytest.mark.parametrize("way", ELSEWHERE)
def test_a_name_that_is_bound_nearer_is_another(house, way):
    house.write("methods/mine.py", ELSEWHERE[way])
    found = Code({}, [house.root]).reached((MINE,))
    assert "kernel" not in {name for name, _ in found.pairs}


def test_of_computed_modules_the_one_that_a_hyper_parameter_or_a_string_names(house):
    assert ("Net" in house.names()) and len([p for p in house.pairs() if p[0] == "Net"]) == 1
    assert len([p for p in house.pairs(words=()) if p[0] == "Net"]) == 2, "nothing names one: all count"
    house.change("methods/mine.py", 'network(hp["model"])', 'network("two")')
    assert len([p for p in house.pairs() if p[0] == "Net"]) == 2, "both are named"


def test_a_file_that_is_not_python_counts_as_text(house):
    house.write("nn/parts.py", "def broken(:\n")
    before = house.pairs()
    house.write("nn/parts.py", "def broken(: # otherwise\n")
    assert house.pairs() != before


def test_plugins_and_what_lies_beside_them_and_packages_of_entry_points(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "helper.py").write_text("WIDTH = 1\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("from .deep import depth\n")
    (tmp_path / "pack/deep.py").write_text("def depth():\n    return 1\n")
    mine = tmp_path / "mine.py"
    mine.write_text("import helper\nimport pack\n\ndef f(d, h, c):\n    return helper.WIDTH + pack.depth()\n")
    spec = importlib.util.spec_from_file_location("bench_plugin_0_mine", mine)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_plugin_0_mine", module)
    code = Code({"plugin:mine.py": mine, "pack": tmp_path / "pack"})
    start = Start("bench_plugin_0_mine", "f")
    assert {n for n, _ in code.reached((start,)).pairs} == {"f", "WIDTH", "depth"}
    before = code.reached((start,)).pairs
    (tmp_path / "helper.py").write_text("WIDTH = 12\n")
    assert changes(before, code.reached((start,)).pairs) == ["WIDTH changed"]


def test_an_edit_is_seen_by_a_process_that_goes_on_and_not_while_still(house):
    code = Code({}, [house.root])
    before = code.reached((MINE,)).name
    with code.still():
        house.change("nn/parts.py", "POWER = 2", "POWER = 33")
        assert code.reached((MINE,)).name == before
    assert code.reached((MINE,)).name != before


def test_summaries_are_kept_by_content_and_a_damaged_cache_is_read_anew(house, tmp_path):
    first = house.pairs()
    (kept,) = (tmp_path / "cache" / "definitions").glob("*.json")
    assert house.pairs() == first
    kept.write_bytes(b"{torn")
    assert house.pairs() == first


# ------------------------------------------------------------------------------------- any edit at all

TOY = {
    "toy/__init__.py": "from toy.model import Model as Exported\n",
    "toy/numbers.py": "BASE = 3\nTABLE = {'a': 5, 'b': 7}\nDEAD = 11\n\n\ndef step(n=2):\n    return n + 1\n",
    "toy/model.py": (
        "from toy import numbers\nfrom toy.numbers import TABLE\n\n\nclass Layer:\n    width = 4\n\n    def __call__(self, x):\n"
        "        return x * self.width\n\n\nclass Model(Layer):\n    depth = 2\n\n    def run(self, x):\n        for _ in range(self.depth):\n"
        "            x = self(x) - numbers.BASE\n        return x + TABLE['a']\n\n\nclass Idle:\n    width = 9\n"
    ),
    "toy/plug.py": "def chosen(x):\n    return x + 13\n\n\ndef never(x):\n    return x + 17\n",
    "toy/score.py": (
        "import importlib\n\nimport toy\nfrom toy import plug\nfrom toy.numbers import step as walk\n\nOFFSET = 19\nOFFSET += 23\n"
        "if OFFSET > 40:\n    SIGN = 1\nelse:\n    SIGN = -1\n\n\ndef pick(module):\n    return getattr(module, 'chosen')\n\n\n"
        "def late(name):\n    return importlib.import_module('toy.late.' + name)\n\n\ndef score():\n"
        "    values = [v + walk() for v in range(3)]\n    total = sum(toy.Exported().run(v) for v in values)\n"
        "    return SIGN * pick(plug)(total) + late('soft').bend(OFFSET)\n"
    ),
    "toy/late/__init__.py": "",
    "toy/late/soft.py": "EDGE = 29\n\n\ndef bend(x):\n    return x + EDGE if x < 100 else x - 31\n",
    "toy/late/hard.py": "EDGE = 37\n\n\ndef bend(x):\n    return x - EDGE\n",
}  # fmt: skip


def _write_toy(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _score(folder: Path) -> object:
    """The score of the code in a folder, imported anew; an exception is a score too."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "toy"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    try:
        return importlib.import_module("toy.score").score()
    except Exception as e:
        return repr(e)


class _Edit(ast.NodeTransformer):
    """Changes the n-th number, operator, comparison or name of a file."""

    def __init__(self, n: int, draw: random.Random) -> None:
        self.left, self.draw = n, draw

    def visit(self, node):
        node = super().generic_visit(node)
        can = (isinstance(node, ast.Constant) and type(node.value) is int) or isinstance(
            node, ast.BinOp | ast.Compare
        )
        self.left -= can
        if can and self.left == -1:
            if isinstance(node, ast.Constant):
                return ast.Constant(node.value + self.draw.choice((-2, 1, 50)))
            if isinstance(node, ast.BinOp):
                node.op = self.draw.choice((ast.Add, ast.Sub, ast.Mult))()
            else:
                node.ops = [self.draw.choice((ast.Lt, ast.Gt, ast.Eq))()]
        return node


def test_no_random_edit_changes_a_score_without_a_cause(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    draw = random.Random(0)
    changed = unchanged = 0
    folder = tmp_path / "tree"
    _write_toy(folder, TOY)
    monkeypatch.syspath_prepend(str(folder))
    code = Code({"toy": folder / "toy"})
    start = (Start("toy.score", "score"),)
    score, pairs = _score(folder), code.reached(start).pairs
    for _ in range(150):
        name = draw.choice([n for n in TOY if TOY[n]])
        tree = ast.parse(TOY[name])
        edited = ast.unparse(_Edit(draw.randrange(8), draw).visit(tree))
        (folder / name).write_text(edited)
        causes = changes(pairs, Code({"toy": folder / "toy"}).reached(start).pairs)
        if _score(folder) != score:
            assert causes, f"{name} became\n{edited}"
            changed += 1
        else:
            unchanged += not causes
        (folder / name).write_text(TOY[name])
    for name in [n for n in sys.modules if n.partition(".")[0] == "toy"]:
        del sys.modules[name]
    assert changed > 40, "the edits do change scores"
    assert unchanged > 10, "and some change neither a score nor what is reached"
