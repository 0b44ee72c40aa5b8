"""Places that cannot be written or opened, and text that a terminal cannot show or would obey."""

import os
import subprocess
import sys

import pytest

from bench.cli.console import WholeWords, visible
from bench.contract import BenchError
from bench.store.files import open_files
from bench.store.records import Store


def refused(said, *words):
    assert (said.code, said.err.startswith("error ")) == (2, True), said
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said


@pytest.mark.parametrize("command", [["report"], ["export"]])
def test_a_file_that_cannot_be_written_is_named_before_any_work(ran, command):
    grids, bench = ran
    (grids.folder / "file").write_text("x")
    for out, said in {
        grids.folder: "is a folder; name a file, such as",
        grids.folder / "file" / "x.html": f"{grids.folder / 'file'} is a file, expected a folder",
        grids.folder / ("a" * 300): "File name too long",
    }.items():
        refused(bench(*grids.arguments(*command, "--out", str(out))), f"--out {out}", said)


#: A store as it is named -> what is said of it; FOLDER is the test's own, with a file in it.
STORES = {
    "FOLDER/" + "a" * 300: "File name too long",
    "FOLDER/file": "file is a file: a store is a folder or a URL",
    "FOLDER/file/below": "file is a file: a store is a folder or a URL",
    "zip://FOLDER/x.zip": "files cannot be added one by one there",
    "tar://x.tar": "files cannot be added one by one there",
    "https://example.org/store": "files cannot be added one by one there",
    "simplecache::s3://bucket/x": "files cannot be added one by one there",
    "nothing://x": "Protocol not known: nothing",
    "file://host/x": "expected file:///absolute/path, since a host follows file://",
    "~nobody-of-this-name/x": "~nobody-of-this-name/x",
    "a\0b": "a path holds no zero byte",
    "": "--store is empty: name a folder or an fsspec URL",
    "  ": "--store is empty: name a folder or an fsspec URL",
}


@pytest.mark.parametrize("url", STORES)
def test_what_can_be_no_store_is_a_message(sandbox, bench, url):
    sandbox.use("grids").of("grids")
    (sandbox.folder / "file").write_text("x")
    named = url.replace("FOLDER", str(sandbox.folder))
    refused(bench(*sandbox.arguments("status", store=False), "--store", named), STORES[url])


def test_a_store_that_keeps_nothing_may_be_planned_with_and_not_run_in(sandbox, bench):
    sandbox.use("grids").of("grids")
    line = [*sandbox.arguments("plan", store=False), "--store", "memory://gone"]
    assert bench(*line).code == 0
    refused(bench("run", "--local", *line[1:]), "--store memory://gone", "keeps no record once the command")


def test_a_url_of_a_folder_is_read_as_urls_are(tmp_path):
    for url in (f"file://{tmp_path}/my%20store", f"file://localhost{tmp_path}/my%20store"):
        assert open_files(url).root == tmp_path / "my store"
    assert open_files(f"{tmp_path}/my%20store").root == tmp_path / "my%20store", "a path is taken as it is"
    with pytest.raises(BenchError, match="expected file:///"):
        Store.open("file://relative")


def test_an_empty_time_and_an_empty_filter_are_no_silent_defaults(sandbox, bench):
    sandbox.use("grids").of("grids")
    refused(bench(*sandbox.arguments("run", "--local", "--budget", "")), "--budget", "such as 10m")
    refused(bench(*sandbox.arguments("run", "--local", "-k", " , ")), "-k ' , ': no condition")
    refused(bench(*sandbox.arguments("run", "--local", "-k", "flihgts")), "no task is '*flihgts*'")
    assert not sandbox.store_folder.exists()


def test_a_name_of_a_file_that_is_too_long_is_a_message_wherever_it_stands(sandbox, bench):
    sandbox.use("grids").of("grids")
    long = "a" * 300 + ".py"
    for words in (["plan", "--suite", long], ["plan", "--plugin", long], ["check", long]):
        refused(bench(*words), "aaa", "File name too long")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_of_another_code_page_shows_signs_written_out(ran, encoding):
    grids, _ = ran
    line = [sys.executable, "-m", "bench.cli", *grids.arguments("status")]
    done = subprocess.run(
        line,
        cwd=grids.folder,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("■" if encoding == "utf-8" else r"\u25a0") in done.stdout.decode(encoding)


EVIL = """from bench.contract import method
@method("grids", name="Mine", id="mine")
def mine(data, hp, ctx):
    print("clear \\x1b[2J and \\x9b31m back\\x08 \\u202eturned", flush=True)
    raise ValueError("title \\x1b]0;owned\\x07 end")
"""


def test_what_a_method_printed_is_shown_and_not_obeyed(sandbox, bench):
    sandbox.use("grids").of("grids")
    file = sandbox.folder / "mine.py"
    file.write_text(EVIL)
    sandbox.plugins.append(str(file))
    assert bench(*sandbox.arguments("run", "--local", "-m", "mine", "-k", "scale=1")).code == 0
    (record,) = sandbox.records()
    for words in (
        sandbox.arguments("plan", "-m", "mine"),
        ["show", record.key, "--store", sandbox.store_folder],
    ):
        said = bench(*words)
        assert said.code == 0, said
        assert r"title \x1b]0;owned" in said.out
        assert not any(sign in said.out + said.err for sign in "\x1b\x9b\x08\x07\u202e")
    assert r"clear \x1b[2J and \x9b31m back \u202eturned" in said.out


def test_only_what_a_terminal_obeys_is_written_out(capsys):
    assert visible("größe\tΔ\n✗ 日本 [b]") == "größe\tΔ\n✗ 日本 [b]"
    WholeWords(force_terminal=True, color_system="standard", highlight=False).print("[red]a\x1b[0mb[/]")
    out = capsys.readouterr().out
    assert out.startswith("\x1b[31m"), "rich's own codes stay"
    assert r"a\x1b[0mb" in out
