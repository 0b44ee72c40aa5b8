"""Who finds what: our folders, plugins, entry points; and what is said of files that cannot be read."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nightly import at_night

import bench.tracks
from bench.contract import BenchError
from bench.errors import nearest
from bench.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
ROW = """from bench.contract import method
@method("{track}", name="N", id="{id}")
def f(data, hp, ctx): return 1.0
"""


def plugin(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_our_tracks_and_rows_are_found_and_named():
    registry = Registry()
    assert "embedding_scale" in registry.track_names()
    rows = registry.rows("embedding_scale")
    assert {"lr", "prior", "single/dcnv2", "multi/dcnv2"} <= set(rows)
    roles = [f.role for f in rows.values()]
    assert roles == sorted(roles, key=("method", "baseline", "plugin").index)
    assert rows["multi/dcnv2"].origin.module == "bench.methods.multi_embedding"
    assert registry.problems == []
    for call, said in {
        lambda: registry.track("embeding_scale"): "no track 'embeding_scale'; did you",
        lambda: registry.row("embedding_scale", "priro"): "has no row 'priro'; did you mean 'prior'?",
        lambda: registry.match("embedding_scale", ["x/*"], "here: "): "here: no row of track",
    }.items():  # fmt: skip
        with pytest.raises(BenchError, match=re.escape(said)):
            call()


def test_nearest_offers_one_word_or_all():
    assert nearest("sclae", ["scale", "seed"]) == "; did you mean 'scale'?"
    assert nearest("zzz", ["b", "a"]) == "; there is a, b"
    assert nearest("zzz", []) == "; there is none"


BAD = {
    "no such file": (None, "no such file"),
    "syntax": ("x = 1\ndef f(:\n", "mine.py:2: SyntaxError"),
    "raises": ("x = 1\n\nraise RuntimeError('at import')\n", "mine.py:3: RuntimeError: at import"),
    "no method": ("def f(): pass\n", "declares no method; decorate a function"),
    "imported method": ("import sys\n", "declares no method"),
    "unknown track": (ROW.format(track="embeding_scale", id="n"), "no track 'embeding_scale'; did you mean"),
    "unknown hp": (
        "from bench.contract import method\n"
        "@method('faults', name='N', hp={'lr': 1}, variants={'v': {'rl': 2}})\ndef f(d, h, c): pass\n",
        "sets 'rl', which is not in hp ['lr']",
    ),
    "missing library": ("import no_such_library_anywhere\n", "mine.py:1: ModuleNotFoundError"),
    "not python": ("", "declares no method"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_plugin_with_a_mistake_is_an_error_that_names_the_file(name, tmp_path, sandbox):
    text, said = BAD[name]
    path = plugin(tmp_path, text) if text is not None else str(tmp_path / "mine.py")
    sandbox.use("faults").plugins.append(path)
    with pytest.raises(BenchError) as e:
        sandbox.registry().rows("faults")
    assert said in str(e.value)
    assert "mine" in str(e.value)


def test_a_plugin_brings_a_row_to_one_of_our_tracks(tmp_path):
    registry = Registry(plugins=[plugin(tmp_path, ROW.format(track="embedding_scale", id="mine"))])
    found = registry.row("embedding_scale", "mine")
    assert (found.role, found.origin.file) == ("plugin", str(tmp_path / "mine.py"))
    assert registry.plugin_files() == {"plugin:mine.py": tmp_path / "mine.py"}


def test_two_methods_of_one_row_are_an_error_that_names_both(tmp_path):
    registry = Registry(plugins=[plugin(tmp_path, ROW.format(track="embedding_scale", id="prior"))])
    with pytest.raises(BenchError, match="two methods make the row 'prior'") as e:
        registry.rows("embedding_scale")
    assert "baselines.embedding_scale.prior" in str(e.value)
    assert "plugin:mine.py" in str(e.value)
    two = plugin(
        tmp_path, ROW.format(track="embedding_scale", id="twin") * 2 + "g = f\n", "twice.py"
    )  # the second f replaces the first: one row
    assert "twin" in Registry(plugins=[two]).rows("embedding_scale")


def test_two_rows_of_one_name_in_one_file_are_an_error(tmp_path):
    text = ROW.format(track="embedding_scale", id="same") + ROW.format(
        track="embedding_scale", id="same"
    ).replace("def f", "def g")
    with pytest.raises(BenchError, match="two methods make the row 'same'"):
        Registry(plugins=[plugin(tmp_path, text)]).rows("embedding_scale")


@pytest.mark.parametrize("folder", ["methods", "baselines/embedding_scale", "baselines/dit_transfer"])
def test_a_broken_file_of_ours_is_told_once_and_skipped(newcomer, folder):
    broken = newcomer(f"{folder}/broken_one.py", "x = 1\nraise ValueError('broken')\n")
    newcomer("baselines/embedding_scale/good_one.py", ROW.format(track="embedding_scale", id="good-one"))
    newcomer(f"{folder}/_helper.py", "raise ValueError('never read')\n")
    registry = Registry()
    for track in registry.track_names():
        assert registry.rows(track)
    assert {"good-one", "prior"} <= set(registry.rows("embedding_scale"))
    (problem,) = registry.problems
    assert problem == f"not read: {broken}:2: ValueError: broken"


def test_a_file_of_ours_that_is_named_is_what_it_is_without():
    file = ROOT / "baselines" / "embedding_scale" / "prior.py"
    registry = Registry(plugins=[file])
    found = registry.row("embedding_scale", "prior")
    assert (found.role, found.origin.module) == ("baseline", "bench.baselines.embedding_scale.prior")
    assert registry.plugin_files() == {}
    assert list(registry.rows("embedding_scale")) == list(Registry().rows("embedding_scale"))


def test_a_broken_file_of_ours_that_is_named_is_an_error(newcomer):
    broken = newcomer("baselines/embedding_scale/broken_one.py", "x = 1\nraise ValueError('broken')\n")
    with pytest.raises(BenchError, match=re.escape(f"{broken}:2: ValueError: broken")):
        Registry(plugins=[broken]).rows("embedding_scale")


TRACK = """from bench.contract import Track
class Small(Track):
    name, reference, metrics, Grid, Run = "small", "fine", (), int, int
    def tasks(self, grid): return []
    def load(self, task, run, inputs): return None
    def truth(self, task, run, inputs): return None
    def score(self, task, answer, truth, history): return None
    def smoke(self): return 0, 0
TRACK = Small()
"""


@pytest.fixture
def tracks(newcomer, tmp_path, monkeypatch):
    """As `newcomer`, and tracks may be laid there too."""
    monkeypatch.setattr(bench.tracks, "__path__", [*bench.tracks.__path__, str(tmp_path / "tree" / "tracks")])
    yield newcomer
    for name in ("bench.tracks.small", "bench.baselines.small"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TRACK = Small()", "SMALL = Small()", ": it sets no TRACK; expected TRACK = …()"),
        ("TRACK = Small()", "TRACK = Small", ": it sets no TRACK; expected TRACK = …()"),
        ('"small"', '"smal"', ": the track is named 'smal'; expected 'small', as its folder is"),
        ("name, reference,", "name, other,", ": Small does not set reference"),
        ("def smoke", "def smok", ":9: TypeError: Can't instantiate abstract class Small"),
        ("class Small(Track):", "class Small(Track)", ":2: SyntaxError: expected ':'"),
    ],
)
def test_a_mistake_in_a_track_names_its_file(tracks, old, new, said):
    assert old in TRACK
    file = tracks("tracks/small/track.py", TRACK.replace(old, new))
    registry = Registry()
    assert "small" in registry.track_names()
    with pytest.raises(BenchError, match=re.escape(f"{file}{said}")):
        registry.track("small")


def test_a_reference_that_is_no_row_is_reported(tracks):
    tracks("tracks/small/track.py", TRACK)
    tracks("baselines/small/fin.py", ROW.format(track="small", id="fin"))
    registry = Registry()
    assert list(registry.rows("small")) == ["fin"]
    assert registry.problems == ["track small: its reference 'fine' is no row; did you mean 'fin'?"]


@pytest.mark.parametrize("words", [("plan",), at_night(("board",)), at_night(("status",))])
def test_a_command_tells_of_a_broken_file_once(newcomer, bench, tmp_path, words):
    broken = newcomer("methods/broken_one.py", "raise ValueError('broken')\n")
    said = bench(*words, "--suite", str(ROOT / "bench.yaml"), "--store", str(tmp_path / "store"))
    assert said.code == 0
    assert (said.out + said.err).count(str(broken)) == 1


@pytest.fixture
def site(tmp_path):
    """Installs little packages with an entry point into a folder of its own, and asks a fresh process."""
    folder = tmp_path / "site"

    def install(name, text):
        info = folder / f"{name}-1.dist-info"
        (folder / name).mkdir(parents=True)
        info.mkdir()
        (folder / name / "__init__.py").write_text("")
        (folder / name / "rows.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[bench.methods]\n{name} = {name}.rows\n")

    def ask(code):
        env = {**os.environ, "PYTHONPATH": str(folder)}
        return subprocess.run(
            [sys.executable, "-c", code], text=True, capture_output=True, check=True, env=env
        )

    return install, ask, folder


def test_entry_points_bring_rows_and_a_broken_one_is_a_problem(site):
    install, ask, folder = site
    install("good_rows", ROW.format(track="embedding_scale", id="from-afar"))
    install("broken_rows", "raise RuntimeError('broken at import')\n")
    install("empty_rows", "x = 1\n")
    install("lost_rows", ROW.format(track="embeding_scale", id="n"))
    said = ask(
        "from bench.registry import Registry; r = Registry(); f = r.rows('embedding_scale')['from-afar'];"
        "print(f.role, f.origin.module, r.plugin_files()); print(*sorted(r.problems), sep='\\n')"
    ).stdout.splitlines()
    assert said[0] == f"plugin good_rows.rows {{'good_rows': PosixPath('{folder / 'good_rows'}')}}"
    assert [x.partition("(")[0] for x in said[1:]] == [
        "not read: entry point broken_rows: RuntimeError: broken at import",
        "not read: entry point empty_rows: declares no method; decorate a function with "
        "@bench.contract.method",
        "not read: entry point lost_rows: no track 'embeding_scale'; did you mean 'embedding_scale'?",
    ]


HEAVY = ("torch", "ray", "scipy", "pandas", "polars", "xarray", "sklearn", "matplotlib", "numpy", "pyarrow",
         "torch_rechub", "diffusers", "transformers")  # fmt: skip


def test_methods_and_baselines_import_nothing_heavy_when_they_are_loaded():
    files = sorted([*ROOT.glob("methods/*.py"), *ROOT.glob("baselines/**/*.py")])
    assert len(files) >= 4
    code = (
        "import sys; from bench.registry import Registry; r = Registry()\n"
        "for t in r.track_names(): assert r.rows(t), t\n"
        f"print(*[m for m in sys.modules if m.partition('.')[0] in {HEAVY!r}])\nprint(r.problems)"
    )
    out = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout
    assert out == "\n[]\n"


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("methods/*.py"), *ROOT.glob("baselines/**/*.py")]),
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_a_file_of_a_method_declares_and_calls(path):
    """A baseline is under 60 lines, has a docstring, and depends on tracks' toolkits, nn, the contract and
    libraries.
    """
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    if "baselines" in path.parts:
        assert len(text.splitlines()) < 60
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    ours = [n for n in names if n.partition(".")[0] in ("bench", "methods", "baselines")]
    assert all(re.match(r"bench\.(contract|nn|tracks)\b", n) for n in ours), ours
