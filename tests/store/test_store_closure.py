"""What a cell can reach: which edits of code change it, which do not, whatever way a name is reached."""

from __future__ import annotations

import ast
import importlib
import os
import random
import sys
import threading
from pathlib import Path

import pytest

from bench.store.code.closure import Code, changes, unpack_listing
from bench.store.code.names import Start

TRACK = Start("bench.tracks.demo.track", "Demo")


def sections(text: str) -> dict[str, tuple[set[str], str]]:
    """Title -> (names after its colon, body) of pieces that begin with ``### title: names``."""
    found = {}
    for part in text.split("### ")[1:]:
        line, _, body = part.partition("\n")
        title, _, names = line.partition(": ")
        found[title] = ({*names.split()}, body)
    return found


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
        "mine", "network", "name", "Net", "kernel", "POWER", "Demo", "Demo.name", "Demo.metrics", "Demo.load",
        "Demo.score", "Demo.judged", "recipe", "scaled", "inner", "SCALE", "Constants", "distance", "starred",
        "(statement)", "import m",
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
        ("tracks/demo/helpers.py", "import math as m", "import cmath as m", "import m changed"),
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


#: Ways to reach a definition: a method's file under "### way: names that must be in its closure".
WAYS = sections("""
### import as: kernel
import bench.nn.parts as p

def mine(d, h, c):
    return p.kernel(d)

### import: kernel
import bench.nn.parts

def mine(d, h, c):
    return bench.nn.parts.kernel(d)

### in a function: kernel
def mine(d, h, c):
    from bench.nn import parts
    return parts.kernel(d)

### handed around: kernel use
from bench.nn import parts

def mine(d, h, c):
    return use(parts)

def use(m):
    return m.kernel(1)

### by getattr: kernel
from bench.nn import parts

def mine(d, h, c):
    return getattr(parts, 'kernel')(d)

### all by globals: other
def other(x):
    return x

def mine(d, h, c):
    return globals()[h['f']](d)

### module by computed name: distance kernel lonely
from importlib import import_module

def mine(d, h, c):
    return import_module('bench.nn.' + h['m']).kernel(d)

### string with a module: lonely
def mine(d, h, c):
    return load('bench.nn.parts:lonely')

def load(x):
    return x

### decorator: kernel
from bench.nn.parts import kernel as k

@k
def mine(d, h, c):
    return d

### default: kernel
from bench.nn.parts import kernel

def mine(d, h, c, f=kernel):
    return f(d)

### base class: A kernel
from bench.nn.parts import kernel as B

class A(B):
    pass

def mine(d, h, c):
    return A()

### class attribute: A kernel
from bench.nn.parts import kernel

class A:
    f = kernel

def mine(d, h, c):
    return A.f

### field's annotation: kernel
from bench.nn.parts import kernel

class A:
    x: kernel

def mine(d, h, c):
    return A

### lambda: F kernel
from bench.nn.parts import kernel

F = lambda x: kernel(x)

def mine(d, h, c):
    return F(d)

### table: T kernel
from bench.nn import parts

T = {'a': parts.kernel}

def mine(d, h, c):
    return T[h['a']](d)

### partial: kernel
from functools import partial
from bench.nn.parts import kernel

P = partial(kernel, power=1)

def mine(d, h, c):
    return P(d)

### try: kernel
try:
    from bench.nn.parts import kernel as k
except ImportError:
    k = None

def mine(d, h, c):
    return k(d)

### comprehension: kernel
from bench.nn.parts import kernel

def mine(d, h, c):
    return [kernel(kernel) for x in d]

### name bound in a comprehension too: kernel
from bench.nn.parts import kernel

def mine(d, h, c):
    [kernel for kernel in d]
    return kernel(d)

### method of a class: kernel
from bench.nn.parts import kernel

class A:
    kernel = 1
    def f(self):
        return kernel(1)

def mine(d, h, c):
    return A().f()

### global: X
X = 1

def mine(d, h, c):
    global X
    X = X + 1
    return X

### match: POWER
from bench.nn.parts import POWER

def mine(d, h, c):
    match d:
        case x if x == POWER:
            return x

### f-string: POWER
from bench.nn.parts import POWER

def mine(d, h, c):
    return f'{POWER}'

""")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_reach_a_definition(house, way):
    names, body = WAYS[way]
    house.write("methods/mine.py", body)
    assert names <= house.names(), way


#: Code that looks as if it reached ``kernel`` and does not.
ELSEWHERE = sections("""
### argument
from bench.nn.parts import lonely as kernel_, POWER

def mine(kernel, hp, ctx):
    return kernel(1)

### local variable
from bench.nn.parts import kernel

def mine(data, hp, ctx):
    kernel = 1
    return kernel

### walrus
from bench.nn.parts import kernel

def mine(d, h, c):
    return (kernel := 2)

### loop
from bench.nn.parts import kernel

def mine(d, h, c):
    for kernel in d:
        print(kernel)

### annotation
from bench.nn.parts import kernel

def mine(d: kernel, h, c) -> kernel:
    x: kernel = 1
    return x

### attribute
from bench.nn.parts import kernel

def mine(d, h, c):
    return d.kernel

""")


@pytest.mark.parametrize("way", ELSEWHERE)
def test_a_name_that_is_bound_nearer_is_another(house, way):
    house.write("methods/mine.py", ELSEWHERE[way][1])
    found = Code({}, [house.root]).reached((MINE,))
    assert "kernel" not in {name for name, _ in found.pairs}


def test_of_computed_modules_the_one_that_a_hyper_parameter_or_a_string_names(house):
    assert len([p for p in house.pairs() if p[0] == "Net"]) == 1
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
    with code.assume_unchanged():
        house.change("nn/parts.py", "POWER = 2", "POWER = 33")
        assert code.reached((MINE,)).name == before
    assert code.reached((MINE,)).name != before


def test_several_threads_may_ask_at_once(house):
    """As those of a sweep do, while somebody edits."""
    code = Code({}, [house.root])
    expected = {
        words: code.reached((MINE,), TRACK, frozenset(), frozenset({words})).name for words in ("one", "two")
    }
    wrong: list[object] = []

    def ask(words: str) -> None:
        try:
            for _ in range(40):
                found = code.reached((MINE,), TRACK, frozenset(), frozenset({words})).name
                if found != expected[words]:
                    wrong.append(found)
        except Exception as e:
            wrong.append(e)

    threads = [threading.Thread(target=ask, args=(w,)) for w in ("one", "two") * 4]
    for t in threads:
        t.start()
    for n in range(30):  # the same code with other times of change: all is read anew
        os.utime(house.root / "nn/parts.py", ns=(n, n))
    for t in threads:
        t.join()
    assert wrong == []


def test_summaries_are_kept_by_content_and_a_damaged_cache_is_read_anew(house, tmp_path):
    first = house.pairs()
    (kept,) = (tmp_path / "cache" / "definitions").glob("*.json")
    assert house.pairs() == first
    kept.write_bytes(b"{torn")
    assert house.pairs() == first


# ------------------------------------------------------------------------------------- any edit at all

#: A package whose every part is reached in another way, and some not at all.
TOY = {
    name: body
    for name, (_, body) in sections("""
### toy/__init__.py
from toy.model import Model as Exported

### toy/numbers.py
BASE = 3
TABLE = {'a': 5, 'b': 7}
DEAD = 11


def step(n=2):
    return n + 1

### toy/model.py
from toy import numbers
from toy.numbers import TABLE


class Layer:
    width = 4

    def __call__(self, x):
        return x * self.width


class Model(Layer):
    depth = 2

    def run(self, x):
        for _ in range(self.depth):
            x = self(x) - numbers.BASE
        return x + TABLE['a']


class Idle:
    width = 9

### toy/plug.py
def chosen(x):
    return x + 13


def never(x):
    return x + 17

### toy/score.py
import importlib

import toy
from toy import plug
from toy.numbers import step as walk

OFFSET = 19
OFFSET += 23
if OFFSET > 40:
    SIGN = 1
else:
    SIGN = -1


def pick(module):
    return getattr(module, 'chosen')


def late(name):
    return importlib.import_module('toy.late.' + name)


def score():
    values = [v + walk() for v in range(3)]
    total = sum(toy.Exported().run(v) for v in values)
    return SIGN * pick(plug)(total) + late('soft').bend(OFFSET)

### toy/late/__init__.py

### toy/late/soft.py
EDGE = 29


def bend(x):
    return x + EDGE if x < 100 else x - 31

### toy/late/hard.py
EDGE = 37


def bend(x):
    return x - EDGE

""").items()
}


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
        name = draw.choice([n for n in TOY if TOY[n].strip()])
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
