"""A clone, an editable install and a wheel all work from any folder."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_every_folder_with_code_is_in_the_package_list():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    for top, prefix in (("bench", ""), ("methods", "bench."), ("baselines", "bench.")):
        for file in (ROOT / top).rglob("*.py"):
            package = prefix + ".".join(file.relative_to(ROOT).parent.parts)
            assert package in listed, f"{package} is not in pyproject.toml, so a wheel would miss {file.name}"


def environment(folder: Path) -> Path:
    """A Python of its own that has everything the one that runs the tests has, but no gridbench."""
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    # A path line adds the folder without obeying the .pth files in it, so no editable gridbench comes along.
    (site / "rest.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def pip(*args: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, args)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The files that a commit of this tree would hold, in a folder of their own (building leaves traces)."""
    folder = tmp_path_factory.mktemp("clone")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory, clone):
    """A Python that has gridbench from a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder / "dist", clone)
    (wheel,) = (folder / "dist").glob("gridbench-*.whl")
    python = environment(folder / "env")
    pip("--python", python, "install", "--no-deps", wheel)
    return python


def run(python, *args, cwd, **env):
    done = subprocess.run(
        [python, *args], cwd=cwd, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **env}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ROWS = (
    "from bench.registry import Registry as R; r = R(); print(sorted(r.rows('embedding_scale')), r.problems)"
)
WHERE = "import bench; print(bench.__file__)"


@pytest.mark.slow
def test_a_wheel_works_from_any_folder(wheel_python, tmp_path):
    assert str(ROOT) not in run(wheel_python, "-c", WHERE, cwd=tmp_path)
    rows = run(wheel_python, "-c", ROWS, cwd=tmp_path)
    assert "'multi/dcnv2'" in rows
    assert "'prior'" in rows
    assert rows.endswith("[]\n")
    bench = str(wheel_python.parent / "bench")
    plan = run(bench, "plan", cwd=tmp_path)
    assert "multi/dcnv2" in plan
    assert re.search(r"\d done \(\d+ published\)", plan), "the published records came along, and are found"
    run(bench, "run", "--local", "-p", "smoke", "-m", "prior", cwd=tmp_path)
    assert (tmp_path / "results" / "store").is_dir()
    run(bench, "report", "-p", "smoke", cwd=tmp_path)
    assert "Click rate" in run(bench, "board", "--published", cwd=tmp_path)
    assert "Click rate" in (tmp_path / "results" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["methods", "baselines"])
def test_a_wheel_claims_no_other_import_name(wheel_python, tmp_path, name):
    found = f"import importlib.util as u; print(u.find_spec({name!r}))"
    assert run(wheel_python, "-I", "-c", found, cwd=tmp_path) == "None\n"


@pytest.mark.slow
def test_a_clone_that_comes_first_on_the_path_finds_its_own_methods(wheel_python, tmp_path):
    assert str(ROOT) in run(wheel_python, "-c", WHERE, cwd=tmp_path, PYTHONPATH=str(ROOT))
    row = "R().row('embedding_scale', 'prior')"
    origin = f"from bench.registry import Registry as R; print({row}.origin.load().__file__)"
    for cwd, env in ((tmp_path, {"PYTHONPATH": str(ROOT)}), (ROOT, {"PYTHONPATH": "."})):
        found = Path(run(wheel_python, "-c", origin, cwd=cwd, **env).strip())
        assert (Path(cwd) / found).resolve() == ROOT / "baselines" / "embedding_scale" / "prior.py"


@pytest.mark.slow
def test_an_editable_install_works_from_any_folder(clone, tmp_path):
    python = environment(tmp_path / "env")
    pip("--python", python, "install", "--no-deps", "--no-build-isolation", "-e", clone)
    assert str(clone) in run(python, "-c", WHERE, cwd=tmp_path)
    assert "'multi/dcnv2'" in run(python, "-c", ROWS, cwd=tmp_path)
