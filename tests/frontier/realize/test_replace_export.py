import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from frontier.errors import InputError
from frontier.realize.replace_export import check_out, replace_export


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


def test_a_folder_that_cannot_be_renamed_stays_and_nothing_lies_beside_it(tmp_path, monkeypatch):
    """Some mounts show only when they are renamed."""
    out = tmp_path / "out"
    fill(out, "config.json")

    def busy(source, target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    message = r"out is in use by the system.*: name a folder inside it"
    with pytest.raises(InputError, match=message), replace_export(out) as folder:
        fill(folder, "adapter_config.json")
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_file_stays_too(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    fill(elsewhere, "big.bin")
    fill(out, "adapter_config.json", "logs/old.txt")
    (out / "empty" / "inner").mkdir(parents=True)
    (out / "data").symlink_to(elsewhere)
    (out / "broken").symlink_to("nowhere")
    (out / "config.json").symlink_to(elsewhere / "big.bin")
    with replace_export(out) as folder:
        fill(folder, "README.md", "logs/new.txt")
    assert {path.name for path in out.iterdir()} == {"README.md", "logs", "empty", "data", "broken"}
    assert (out / "empty" / "inner").is_dir()
    assert (os.readlink(out / "data"), os.readlink(out / "broken")) == (str(elsewhere), "nowhere")
    assert {path.name for path in (out / "logs").iterdir()} == {"old.txt", "new.txt"}
    assert (elsewhere / "big.bin").read_text() == "big.bin"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "elsewhere"}


def test_a_link_stays_one(tmp_path):
    fill(tmp_path / "disk" / "real", "config.json", "notes.md")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    with replace_export(tmp_path / "out") as folder:
        fill(folder, "adapter_config.json")
    assert (tmp_path / "out").is_symlink()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_config.json", "notes.md"}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real"]


def test_places_that_cannot_be_replaced_are_refused_before_any_work(tmp_path, monkeypatch):
    out = tmp_path / "out"
    fill(out, "config.json")
    monkeypatch.chdir(out)
    for place in (".", out):
        with pytest.raises(InputError, match=r"is the present folder.*: name a folder inside it"):
            replace_export(place).__enter__()
    assert check_out("inside") == out.resolve() / "inside"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == out.resolve())
    with pytest.raises(InputError, match=r"is a mounted folder.*: name a folder inside it"):
        check_out(out)
    with pytest.raises(InputError, match=r"config.json is a file, expected a folder"):
        check_out(out / "config.json")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="new: no right to write in"):
        check_out(tmp_path / "a" / "new")


def test_what_an_export_is_made_of_is_not_replaced(tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    fill(base, "config.json")
    fill(adapter, "adapter_config.json")
    (tmp_path / "link").symlink_to(base)
    for place in (base, tmp_path / "link", base / ".." / "base"):
        with pytest.raises(InputError, match="is the folder of the base model: write to another"):
            check_out(place, base, [adapter])
    with pytest.raises(InputError, match="is the folder of the base model"):
        check_out(base, tmp_path / "link")
    with pytest.raises(InputError, match="is the folder of an adapter: write to another"):
        check_out(adapter, base, [base, adapter])
    assert check_out(tmp_path / "out", "some/hub-id", [adapter]) == tmp_path.resolve() / "out"
    assert check_out(tmp_path, base, [adapter])  # they stay where they are
    (tmp_path / "grid.json").write_text(json.dumps({"adapters": [{"folder": "adapter"}]}))
    with pytest.raises(InputError, match="in a grid that would be replaced"):
        check_out(tmp_path, base, [adapter])


def test_terminated_in_the_middle_nothing_lies_beside(tmp_path):
    code = f"""
        import time
        from frontier.realize.replace_export import replace_export

        with replace_export("{tmp_path}/out") as folder:
            (folder / "adapter_model.safetensors").write_text("half")
            print("started", flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
