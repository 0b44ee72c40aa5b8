"""Data and weights that a command can bring: what is fetched, from whom, on which terms, into which folder.

Most data sets of the papers want a login, so that only the user can bring them. What is fetched here is
public; it is never part of this package or of its repository. Addresses and digests are those of a library
that downloads the same files, where one does (torchvision, open_clip).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import packages
from bench.data.catalog import CATALOG, root
from bench.data.downloading import Remote, archives
from bench.data.preparing import Progress, silent
from bench.errors import BenchError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of somebody else's data or weights, which several data sets may be read from.

    Attributes:
        source: the address it comes from.
        terms: on which terms, as far as they are known.
        mb: size of the download in MB, about.
        download: writes it into a folder, of which a part may be there from an earlier try.
        place: its folder below `root`, if that is not called as the copy is.
        needs: distribution -> nothing, for it is only imported: what downloads it.
        extra: the extra of this package that the distributions belong to.
        resumes: whether ``download`` goes on from what is there.
    """

    source: str
    terms: str
    mb: int
    download: Callable[[Path, Progress], None]
    place: str = ""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: str = ""
    resumes: bool = True


def _pysteps_data(folder: Path, progress: Progress) -> None:
    """Let pysteps download and unpack its example data; it shows how far it is."""
    from urllib.request import urlcleanup

    from pysteps.datasets import download_pysteps_data

    try:
        download_pysteps_data(str(folder), force=True)
    finally:
        urlcleanup()  # the archive of 335 MB, which it leaves among the temporary files


def _fmow(folder: Path, progress: Progress) -> None:
    """Let wilds download and unpack FMoW, by its own data set's class."""
    from wilds import get_dataset

    get_dataset("fmow", version="1.1", download=True, root_dir=str(folder))
    inner = folder / "fmow_v1.1"
    for path in inner.iterdir():
        path.rename(folder / path.name)
    inner.rmdir()


def _hub(repository: str, files: Sequence[str], below: str = "") -> Callable[[Path, Progress], None]:
    """Let huggingface_hub download some files; it goes on where it broke off and checks their sizes.

    Args:
        repository: on huggingface.co.
        files: their paths there.
        below: a folder there whose files come directly into the copy's.
    """

    def bring(folder: Path, progress: Progress) -> None:
        from huggingface_hub import HfApi, hf_hub_download

        for i, info in enumerate(HfApi().get_paths_info(repository, list(files)), 1):
            got = Path(hf_hub_download(repository, info.path, local_dir=folder))
            _check_digest(repository, info, got)
            progress(f"{repository}: files", i, len(files))
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        if below:
            for path in [*(folder / below).iterdir()]:
                path.replace(folder / path.name)
            (folder / below).rmdir()

    return bring


def _check_digest(repository: str, info: object, got: Path) -> None:
    """Refuse a large file with another sha-256 than the repository states."""
    from bench.file_digest import read_digest

    expected = getattr(getattr(info, "lfs", None), "sha256", None)
    if expected is not None and (found := read_digest(got)) != expected:
        got.unlink()
        raise BenchError(f"{repository}: {got.name} has the sha256 {found}, expected {expected}")


_VGG = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"
_CLIP = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"
_UNVERIFIED = "general knowledge, verify"

COPIES: Mapping[str, Copy] = {
    "pysteps-data": Copy(
        source="https://github.com/pySTEPS/pysteps-data",
        terms="each frame's own: see its README; MRMS is public domain, KNMI CC BY 4.0, others for research"
        f" ({_UNVERIFIED})",
        mb=335,
        download=_pysteps_data,
        needs={"pysteps": ()},
        extra="radar",
        resumes=False,
    ),
    "food101": Copy(
        source="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
        terms=CATALOG["food101"].terms,
        mb=4_996,
        place="food-101",
        download=archives(
            [
                Remote(
                    url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                    digest="md5:85eeb15f3717b99a5da872d97d918f87",
                )
            ]
        ),
    ),
    "oxford-flowers": Copy(
        source=_VGG,
        terms=CATALOG["oxford-flowers"].terms,
        mb=345,
        place="oxford_flowers",
        download=archives(
            [
                Remote(url=f"{_VGG}/102flowers.tgz", digest="md5:52808999861908f626f3c1f4e79d11fa"),
                Remote(url=f"{_VGG}/imagelabels.mat", digest="md5:e0620be6f572b9609742df49c70aed4d"),
                Remote(url=f"{_VGG}/setid.mat", digest="md5:a5357ecc9cb78c4bef273ce3793fc85c"),
            ]
        ),
    ),
    "sun397": Copy(
        source="http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
        terms=CATALOG["sun397"].terms,
        mb=39_000,
        place="sun397",
        download=archives(
            [
                Remote(
                    url="http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                    digest="md5:8ca2778205c41d23104230ba66911c7a",
                )
            ]
        ),
    ),
    "fmow": Copy(
        source="p-lambda/wilds, FMoW version 1.1",
        terms=CATALOG["fmow"].terms,
        mb=53_900,
        place="fmow_v1.1",
        download=_fmow,
        needs={"wilds": ()},
        resumes=False,
    ),
    "clip": Copy(
        source=f"https://openaipublic.azureedge.net/clip/models/{_CLIP}/ViT-B-16.pt",
        terms="MIT (openai/CLIP)",
        mb=351,
        download=archives(
            [
                Remote(
                    url=f"https://openaipublic.azureedge.net/clip/models/{_CLIP}/ViT-B-16.pt",
                    digest=f"sha256:{_CLIP}",
                )
            ]
        ),
    ),
    "dit": Copy(
        source="https://huggingface.co/facebook/DiT-XL-2-256",
        terms="CC BY-NC 4.0: non-commercial",
        mb=2_700,
        # The setting's default names the original's file; a folder of diffusers in its place is read as well.
        place="dit/DiT-XL-2-256x256.pt",
        download=_hub(
            "facebook/DiT-XL-2-256",
            ("transformer/config.json", "transformer/diffusion_pytorch_model.bin"),
            below="transformer",
        ),
        needs={"huggingface_hub": ()},
    ),
    "sd-vae": Copy(
        source="https://huggingface.co/stabilityai/sd-vae-ft-ema",
        terms="MIT",
        mb=335,
        place="dit/sd-vae-ft-ema",
        download=_hub(
            "stabilityai/sd-vae-ft-ema", ("config.json", "diffusion_pytorch_model.safetensors")
        ),
        needs={"huggingface_hub": ()},
    ),
    "stable-diffusion": Copy(
        source="https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
        terms="CreativeML Open RAIL-M: use restrictions that go on with the weights",
        mb=4_300,
        place="stable-diffusion-v1-5",
        download=_hub(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            (
                "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json",
                "text_encoder/model.safetensors", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json",
                "tokenizer/merges.txt", "tokenizer/special_tokens_map.json",
                "scheduler/scheduler_config.json",
            ),
        ),
        needs={"huggingface_hub": ()},
    ),
}  # fmt: skip


def about(name: str) -> str:
    """What would be fetched: its size, from where, and on which terms.

    Raises:
        BenchError: there is no such copy (says where a data set of this name comes from).
    """
    copy = _copy(name)
    return f"{name}: about {copy.mb:,} MB from {copy.source}, into {_folder(name)}; terms: {copy.terms}"


def check(name: str, *, again: bool = False) -> None:
    """Raise `BenchError` if a copy cannot be fetched: it is there, a package is missing, the disk is full."""
    copy, folder = _copy(name), _folder(name)
    if why := packages.missing(name, copy.needs, copy.extra):
        raise BenchError(
            why if copy.extra else why.partition(": pip")[0] + f": pip install {' '.join(copy.needs)}"
        )
    if _is_there(folder) and not again:
        raise BenchError(
            f"{name}: {folder} is there already: bench data fetch {name} --again replaces its files"
        )
    place = next(p for p in (root(), *root().parents) if p.exists())
    free = shutil.disk_usage(place).free // 10**6
    if free < 2 * copy.mb:  # the archive and what is in it
        raise BenchError(
            f"{name}: {place} has {free:,} MB left, expected {2 * copy.mb:,}: archive and content"
        )


def fetch(name: str, progress: Progress = silent, *, again: bool = False) -> str:
    """Bring a copy, whole or not at all; returns what there is now and what comes next.

    What was read of a download that broke off stays, hidden beside the copy's folder, and is gone on from.

    Args:
        name: of the copy, a key of `COPIES`.
        progress: is called with what is read, and how much of it.
        again: fetch it although it is there; files of the same name are replaced, others are kept.

    Raises:
        BenchError: there is no such copy, it is there already, a package is missing, or it cannot be fetched.
    """
    check(name, again=again)
    copy, folder = _copy(name), _folder(name)
    part = folder.with_name(f".{folder.name}.part")
    if not copy.resumes:
        shutil.rmtree(part, ignore_errors=True)  # of a killed process
    try:
        part.mkdir(parents=True, exist_ok=True)
        copy.download(part, progress)
    # A broken archive is no OSError; all that a network or a disk does is one.
    except Exception as e:
        if not copy.resumes or not any(p.is_file() for p in part.rglob("*")):
            shutil.rmtree(part, ignore_errors=True)
        raise BenchError(
            f"{name}: cannot be fetched from {copy.source}: {_reason(e)}: {_instead(name, part)}"
        ) from e
    inner = [p for p in part.iterdir() if p.is_dir() and p.name == folder.name]  # as some archives have it
    source = inner[0] if len(inner) == 1 and len([*part.iterdir()]) == 1 else part
    shutil.copytree(source, folder, dirs_exist_ok=True) if folder.exists() else source.rename(folder)
    shutil.rmtree(part, ignore_errors=True)
    files = sum(p.is_file() for p in folder.rglob("*"))
    sets = " ".join(
        d.name for d in CATALOG.values() if (d.place or d.name) == (copy.place or name) and d.prepared
    )
    then = f"; next: bench data prepare {sets}" if sets else ""
    return f"{name}: {files:,} files in {folder}, from {copy.source}{then}"


def _reason(e: Exception) -> str:
    return str(e.strerror if isinstance(e, OSError) and e.strerror else e) or type(e).__name__


def _instead(name: str, part: Path) -> str:
    """What helps where a copy cannot be fetched: the same command, or to bring it."""
    kept = f"the same command goes on from what {part} has; " if part.exists() else ""
    layout = f" ({CATALOG[name].layout})" if name in CATALOG else ""
    return f"{kept}where there is no network, bring a copy of it yourself, as {_folder(name)}{layout}"


def _folder(name: str) -> Path:
    return root() / (_copy(name).place or name)


def _is_there(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder])


def _copy(name: str) -> Copy:
    """A copy by its name, or what to do instead.

    Raises:
        BenchError: there is no copy of this name; says where a data set of this name comes from.
    """
    if name in COPIES:
        return COPIES[name]
    if name not in CATALOG:
        raise BenchError(f"no copy {name!r} can be fetched{nearest(name, COPIES)}")
    data_set = CATALOG[name]
    if data_set.place in COPIES:
        raise BenchError(f"{name} comes with {data_set.place}: bench data fetch {data_set.place}")
    raise BenchError(f"{name} cannot be fetched by a command; it comes from: {data_set.get}")
