"""Copies of public data that a command brings, with a stand-in for what downloads them."""

import hashlib
import http.server
import io
import random
import socket
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import pytest
from data_command import bench
from uninstalled import uninstalled

from bench.data import fetching
from bench.data.catalog import CATALOG
from bench.data.downloading import Remote, archives
from bench.errors import BenchError


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def downloads(monkeypatch, write):
    """Let the copy be written by a function, without pysteps."""
    copy = replace(fetching.COPIES["pysteps-data"], download=write, needs={}, mb=335)
    monkeypatch.setattr(fetching, "COPIES", {"pysteps-data": copy})


def frames(text):
    def write(folder, progress):
        (folder / "radar").mkdir()
        (folder / "radar" / "frame").write_text(text)

    return write


def test_fetches_into_the_folder_of_the_data_and_says_what_comes_next(data, monkeypatch):
    downloads(monkeypatch, frames("first"))
    said = bench("fetch", "pysteps-data", "--yes")
    assert "about 335 MB from https://github.com/pySTEPS/pysteps-data" in said, "the size first"
    assert f"pysteps-data: 1 files in {data / 'pysteps-data'}, from https://github.com/pySTEPS" in said
    assert said.endswith("next: bench data prepare mrms knmi fmi meteoswiss bom")
    assert (data / "pysteps-data/radar/frame").read_text() == "first"


def test_replaces_nothing_unless_it_is_told_to_and_then_keeps_other_files(data, monkeypatch):
    downloads(monkeypatch, frames("first"))
    bench("fetch", "pysteps-data", "--yes")
    (data / "pysteps-data/mine").write_text("mine")
    downloads(monkeypatch, frames("second"))
    with pytest.raises(BenchError, match="is there already: bench data fetch pysteps-data --again"):
        bench("fetch", "pysteps-data", "--yes")
    assert "2 files" in bench("fetch", "pysteps-data", "--again", "--yes")
    assert (data / "pysteps-data/radar/frame").read_text() == "second"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError("Name or service not known"), "Name or service not known"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("no archive"), "no archive"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing_and_says_what_else_helps(data, monkeypatch, error, said):
    def write(folder, progress):
        (folder / "half").write_text("half")
        raise error

    downloads(monkeypatch, write)
    with pytest.raises(BenchError, match=rf"{said}.*bring a copy of it yourself, as {data}/pysteps-data"):
        bench("fetch", "pysteps-data", "--yes")
    assert not data.exists() or not list(data.iterdir())


def test_without_pysteps_the_command_that_installs_it_is_said(data, monkeypatch):
    uninstalled(monkeypatch, "pysteps")
    with pytest.raises(BenchError, match=r"'pysteps' is not installed: pip install 'gridbench\[radar\]'"):
        bench("fetch", "pysteps-data", "--yes")


def test_pysteps_own_downloader_is_called(data, monkeypatch):
    asked = []
    module = ModuleType("pysteps.datasets")
    module.download_pysteps_data = lambda folder, force: asked.append((folder, force))
    monkeypatch.setitem(sys.modules, "pysteps", ModuleType("pysteps"))
    monkeypatch.setitem(sys.modules, "pysteps.datasets", module)
    fetching.COPIES["pysteps-data"].download(data, print)
    assert asked == [(str(data), True)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ((), "which\\? pysteps-data, food101"),
        (("pystep-data",), "did you mean 'pysteps-data'"),
        (("mrms",), "mrms comes with pysteps-data: bench data fetch pysteps-data"),
        (("criteo",), "criteo cannot be fetched by a command; it comes from: Kaggle"),
    ],
)
def test_names_what_can_be_fetched(data, name, said):
    with pytest.raises(BenchError, match=said):
        bench("fetch", *name)


def test_asks_for_consent_and_takes_silence_for_none(data, monkeypatch):
    downloads(monkeypatch, frames("first"))
    with pytest.raises(BenchError, match="nobody is here to agree to these terms: --yes"):
        bench("fetch", "pysteps-data")
    assert not data.exists()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``content``, at most ``most`` bytes of it an answer, and ranges unless ``whole``."""

    content, most, whole, asked = b"", 0, False, []

    def do_GET(self):
        given = self.headers.get("Range")
        self.asked.append(given)
        first = 0 if self.whole or not given else int(given.removeprefix("bytes=").rstrip("-"))
        left = self.content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(left)))
        self.end_headers()
        self.wfile.write(left[: self.most])
        self.close_connection = True

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def server():
    """A server on this machine that breaks off after 3 kB, and its address."""
    handler = type("Handler", (Server,), {"asked": [], "most": 3_000})
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def serves(monkeypatch, address, content, *, name="photos.tar.gz", digest=None):
    digest = digest or f"md5:{hashlib.md5(content).hexdigest()}"
    remote = Remote(url=f"{address}/{name}", digest=digest)
    copy = replace(fetching.COPIES["food101"], source=address, download=archives([remote]), mb=1)
    monkeypatch.setattr(fetching, "COPIES", {"food101": copy})


def archive():
    """A tar.gz of a folder with a file of noise, 10 kB."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        info = tarfile.TarInfo("food-101/images/pie/1.jpg")
        info.size = 10_000
        tar.addfile(info, io.BytesIO(random.Random(0).randbytes(10_000)))
    return raw.getvalue()


@pytest.mark.parametrize("whole", [False, True])
def test_a_download_that_breaks_off_in_mid_file_goes_on_there(data, monkeypatch, server, whole):
    handler, address = server
    handler.content = content = archive()
    handler.whole = whole
    handler.most = 3_000 if not whole else len(content)
    serves(monkeypatch, address, content)
    said = bench("fetch", "food101", "--yes")
    assert "food101: 1 files in" in said
    assert "next: bench data prepare food101" in said
    assert (data / "food-101/images/pie/1.jpg").stat().st_size == 10_000
    ranges = [None] if whole else [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert handler.asked == ranges
    assert [p.name for p in data.iterdir()] == ["food-101"], "nothing of the download is left"


def test_a_download_that_was_given_up_goes_on_by_the_same_command(data, monkeypatch, server):
    handler, address = server
    handler.content = content = archive()
    serves(monkeypatch, address, content)
    (data / ".food-101.part").mkdir(parents=True)
    (data / ".food-101.part/photos.tar.gz.part").write_bytes(content[:5_000])
    bench("fetch", "food101", "--yes")
    assert handler.asked[0] == "bytes=5000-"
    assert (data / "food-101/images/pie/1.jpg").stat().st_size == 10_000


def test_a_server_that_gives_nothing_more_ends_with_what_helps_and_keeps_what_was_read(
    data, monkeypatch, server
):
    handler, address = server
    handler.content = content = archive()
    (data / ".food-101.part").mkdir(parents=True)
    (data / ".food-101.part/photos.tar.gz.part").write_bytes(content[:5_000])
    handler.most = 0
    serves(monkeypatch, address, content)
    with pytest.raises(BenchError, match=r"the same command goes on.*as .*food-101 \(unpacked; images/"):
        bench("fetch", "food101", "--yes")
    assert (data / ".food-101.part/photos.tar.gz.part").stat().st_size == 5_000
    assert len(handler.asked) == 3


def test_another_file_than_the_published_one_is_refused(data, monkeypatch, server):
    handler, address = server
    handler.content = content = archive()
    handler.most = len(content)
    serves(monkeypatch, address, content, digest="md5:" + "0" * 32)
    with pytest.raises(BenchError, match=r"with the md5 [0-9a-f]+, expected 0000.*not the published file"):
        bench("fetch", "food101", "--yes")
    assert not (data / "food-101").exists()


def test_without_a_network_it_fails_at_once_and_says_what_goes_where(data, monkeypatch):
    with socket.socket() as taken:  # a port at which nobody answers
        taken.bind(("127.0.0.1", 0))
        serves(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}", b"")
        with pytest.raises(BenchError, match=r"[Rr]efused.*bring a copy of it yourself, as .*food-101 \(unp"):
            bench("fetch", "food101", "--yes")
    assert not data.exists() or not list(data.iterdir())


def test_an_archive_that_leads_out_of_its_folder_is_refused(data, monkeypatch, server):
    handler, address = server
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../out.txt"))
    handler.content = raw.getvalue()
    handler.most = len(handler.content)
    serves(monkeypatch, address, handler.content)
    with pytest.raises(BenchError, match="outside the destination"):
        bench("fetch", "food101", "--yes")
    assert not (data / "out.txt").exists()


def test_a_full_disk_is_said_before_anything_is_read(data, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**6))
    with pytest.raises(BenchError, match=r"food101: .* has 1 MB left, expected 9,992"):
        bench("fetch", "food101", "--yes")


def hub(monkeypatch, files, stated):
    """A stand-in for huggingface_hub: files by their paths, and the digests that the repository states."""
    module = ModuleType("huggingface_hub")

    def info(path):
        lfs = SimpleNamespace(sha256=stated[path]) if path in stated else None
        return SimpleNamespace(path=path, lfs=lfs)

    def get(repository, path, local_dir):
        place = Path(local_dir) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files[path])
        return str(place)

    api = SimpleNamespace(get_paths_info=lambda repository, paths: [info(p) for p in paths])
    module.HfApi, module.hf_hub_download = lambda: api, get
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_weights_of_the_hub_lie_where_the_track_looks_for_them(data, monkeypatch):
    files = {"transformer/config.json": b"{}", "transformer/diffusion_pytorch_model.bin": b"weights"}
    sha = hashlib.sha256(b"weights").hexdigest()
    hub(monkeypatch, files, {"transformer/diffusion_pytorch_model.bin": sha})
    assert "terms: CC BY-NC 4.0" in bench("fetch", "dit", "--yes")
    from bench.tracks.dit_transfer.settings import Run

    assert (data / Run().weights / "config.json").read_bytes() == b"{}"
    assert sorted(p.name for p in (data / Run().weights).iterdir()) == [
        "config.json", "diffusion_pytorch_model.bin",
    ]  # fmt: skip


def test_weights_of_the_hub_with_another_digest_are_refused(data, monkeypatch):
    files = {"config.json": b"{}", "diffusion_pytorch_model.safetensors": b"other"}
    hub(monkeypatch, files, {"diffusion_pytorch_model.safetensors": "0" * 64})
    with pytest.raises(
        BenchError, match=r"diffusion_pytorch_model.safetensors has the sha256 .*expected 000"
    ):
        bench("fetch", "sd-vae", "--yes")
    assert not (data / "dit/sd-vae-ft-ema").exists()


def test_fmow_is_brought_by_wilds(data, monkeypatch):
    def get(name, version, download, root_dir):
        assert (name, version, download) == ("fmow", "1.1", True)
        (Path(root_dir) / "fmow_v1.1").mkdir()
        (Path(root_dir) / "fmow_v1.1" / "rgb_metadata.csv").write_text("")

    monkeypatch.setitem(sys.modules, "wilds", SimpleNamespace(get_dataset=get))
    monkeypatch.setattr(fetching.packages, "missing", lambda *given: None)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**12))
    bench("fetch", "fmow", "--yes")
    assert [p.name for p in (data / "fmow_v1.1").iterdir()] == ["rgb_metadata.csv"]


def test_every_copy_lies_where_something_looks_for_it():
    from bench.tracks.controlnet import settings as controlnet
    from bench.tracks.dit_transfer import settings as dit
    from bench.tracks.ood import settings as ood

    wanted = {str(d.place or d.name) for d in CATALOG.values()}
    wanted |= {
        ood.Run().weights.partition("/")[0],
        dit.Run().weights,
        dit.Run().vae,
        controlnet.Run().diffusion,
    }
    assert {c.place or n for n, c in fetching.COPIES.items()} <= wanted
