import json
import os

import pytest

from frontier.realize.replace_export import replace_export


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_new_folder(tmp_path):
    with replace_export(tmp_path / "a" / "out") as folder:
        fill(folder, "config.json")
        assert not (tmp_path / "a" / "out").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    assert (tmp_path / "a" / "out" / "config.json").read_text() == "config.json"


def test_parts_of_an_earlier_export_go_and_the_rest_stays(tmp_path):
    out = tmp_path / "out"
    fill(out, "config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "chat_template.jinja")
    fill(out, "notes.md", "logs/model.safetensors", "a-1_b-0/adapter_config.json", "mine/adapter_config.json")
    (out / "grid.json").write_text(json.dumps({"adapters": [{"folder": "a-1_b-0"}, {"folder": "../elsewhere"}]}))
    with replace_export(out) as folder:
        fill(folder, "adapter_config.json", "README.md")
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {
        "adapter_config.json",
        "README.md",
        "notes.md",
        "logs/model.safetensors",
        "mine/adapter_config.json",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_raises_leaves_the_old_one(tmp_path):
    out = tmp_path / "out"
    fill(out, "config.json")
    with pytest.raises(IsADirectoryError), replace_export(out) as folder:
        folder.write_text("a folder is no file")
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_gives_the_old_one_back(tmp_path, monkeypatch):
    out, real = tmp_path / "out", os.replace
    fill(out, "config.json")
    calls = []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("no")
        real(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="no"), replace_export(out) as folder:
        fill(folder, "adapter_config.json")
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
