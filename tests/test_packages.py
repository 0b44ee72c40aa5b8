"""Data inside packages: what is missing, where it lies, and whether it is what was installed."""

from __future__ import annotations

import base64
import hashlib
import sys

import pytest
from uninstalled import uninstalled

from bench import packages
from bench.errors import BenchError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution as pip leaves it: files with a recorded digest, and one that was made later."""
    monkeypatch.syspath_prepend(tmp_path)
    lines = []
    for name, text in {"pictures/a.txt": "one", "pictures/more/b.txt": "two", "notes.txt": "three"}.items():
        file = tmp_path / "paintbox" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"paintbox/{name},sha256={digest},{len(text)}")
    (tmp_path / "paintbox" / "made.pyc").write_text("made later")
    about = tmp_path / "paintbox-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paintbox\nVersion: 1.0\n")
    record = [*lines, "paintbox/made.pyc,,", "paintbox-1.0.dist-info/RECORD,,"]
    (about / "RECORD").write_text("\n".join(record) + "\n")
    return tmp_path / "paintbox"


def test_what_is_not_installed_is_named_with_the_extra_that_holds_it(monkeypatch, installed):
    needs = {"paintbox": ("paintbox/pictures",), "numpy": ()}
    assert packages.missing("pictures", needs) is None
    assert packages.version("paintbox") == "1.0"
    uninstalled(monkeypatch, "paintbox")
    said = "pictures: package 'paintbox' is not installed: pip install 'gridbench[laptop]'"
    assert packages.missing("pictures", needs) == said
    uninstalled(monkeypatch, "numpy")
    assert "packages 'paintbox', 'numpy' are not installed" in packages.missing("pictures", needs, "paper")
    assert packages.missing("pictures", needs, "paper").endswith("pip install 'gridbench[paper]'")


def test_a_file_that_is_gone_is_named_with_the_command_that_brings_it_back(installed):
    (installed / "notes.txt").unlink()
    said = "notes: package 'paintbox' has no paintbox/notes.txt: pip install --force-reinstall paintbox"
    assert packages.missing("notes", {"paintbox": ("paintbox/notes.txt",)}) == said
    with pytest.raises(BenchError, match="force-reinstall paintbox"):
        packages.Weights("paintbox", "paintbox/notes.txt").path()
    assert packages.Weights("paintbox", "paintbox/pictures").path() == installed / "pictures"


def test_files_are_compared_with_the_digests_that_were_recorded(installed):
    steps = []
    needs = {"paintbox": ("paintbox/pictures", "paintbox/made.pyc")}
    assert packages.verify(needs, lambda *step: steps.append(step)) == 2
    assert steps == [(1, 2), (2, 2)]
    (installed / "notes.txt").write_text("other")
    assert packages.verify(needs, lambda *_: None) == 2, "nobody reads the notes"
    (installed / "pictures" / "more" / "b.txt").write_text("other")
    with pytest.raises(BenchError, match=r"b\.txt: not the bytes that were installed: pip install --force"):
        packages.verify(needs, lambda *_: None)
    (installed / "pictures" / "more" / "b.txt").unlink()
    with pytest.raises(BenchError, match=r"b\.txt: No such file.*: pip install --force-reinstall paintbox"):
        packages.verify(needs, lambda *_: None)


def test_packages_are_found_without_importing_them(installed):
    packages.missing("pictures", {"paintbox": ("paintbox/pictures",)})
    assert "paintbox" not in sys.modules
