"""Files that `bench launch` brings: every node finds them below its own copy of the clone."""

import json
import shutil

import bench
from bench.registry import Origin, Registry
from bench.store import provenance

PLUGIN = '''
from bench.contract import method

@method("embedding_scale", name="Brought")
def brought(data, hp, ctx):
    """One."""
'''


def test_a_brought_plugin_is_found_on_every_node(tmp_path, monkeypatch):
    nodes = [tmp_path / name for name in ("head", "worker")]
    for node in nodes:
        (node / bench.LAUNCHED / "0").mkdir(parents=True)
        (node / bench.LAUNCHED / "0" / "mine.py").write_text(PLUGIN)
    monkeypatch.setattr(bench, "CLONE", nodes[0])
    monkeypatch.chdir(nodes[0])
    registry = Registry(plugins=[f"{bench.LAUNCHED}/0/mine.py"])
    origin = registry.row("embedding_scale", "brought").origin
    assert origin == Origin(file="launched/0/mine.py"), "no path of one machine"
    assert (origin.source_name, origin.code) == (
        "plugin:mine.py", {"plugin:mine.py": nodes[0] / "launched" / "0" / "mine.py"},
    )  # fmt: skip
    shutil.rmtree(nodes[0])
    monkeypatch.setattr(bench, "CLONE", nodes[1])
    monkeypatch.chdir(tmp_path)
    assert origin.load().brought.__doc__ == "One."
    assert origin.path == str(nodes[1] / "launched" / "0" / "mine.py")


def test_any_other_plugin_is_found_by_its_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    origin = Registry(plugins=[path]).row("embedding_scale", "brought").origin
    assert (origin.file, origin.place) == (str(path), path)


def test_records_of_a_launched_sweep_name_the_commit_that_was_sent(tmp_path, monkeypatch):
    (tmp_path / bench.LAUNCHED).mkdir()
    (tmp_path / bench.LAUNCHED / "commit.json").write_text(json.dumps({"commit": "abc", "dirty": True}))
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    assert dict(provenance._commit.__wrapped__()) == {"commit": "abc", "dirty": True}
