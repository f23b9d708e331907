import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from moalign.training.runs.checkpoint_seal import SEAL, broken, seal


@pytest.fixture
def checkpoint(tmp_path):
    """One file of each kind that a checkpoint holds, one of them in a folder of its own."""
    folder = tmp_path / "checkpoint-3"
    (folder / "helpful").mkdir(parents=True)
    save_file({"lora_A": torch.arange(12.0).view(3, 4)}, folder / "helpful" / "adapter_model.safetensors")
    torch.save({"step": torch.tensor(3.0)}, folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    (folder / "README.md").write_text("# A steerable policy")
    return folder


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_seal_lists_every_file_with_its_size_and_sum(checkpoint):
    before = names(checkpoint)
    seal(checkpoint)
    files = json.loads((checkpoint / SEAL).read_text())["files"]
    assert set(files) == before
    text = b"# A steerable policy"
    assert files["README.md"] == {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    assert broken(checkpoint) is None


@pytest.mark.parametrize(
    "name", ["helpful/adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "README.md"]
)
def test_what_became_of_a_file_is_said(checkpoint, name):
    seal(checkpoint)
    path, content = checkpoint / name, (checkpoint / name).read_bytes()
    path.write_bytes(content[:-1])
    assert broken(checkpoint) == f"{name} has {len(content) - 1} bytes, {len(content)} were written"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert broken(checkpoint) == f"{name} does not have the checksum that was written"
    path.unlink()
    assert broken(checkpoint) == f"{name} is missing"
    path.write_bytes(content)
    assert broken(checkpoint) is None


@given(st.data())
def test_any_flipped_bit_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    torch.save({"exp_avg": torch.arange(5.0)}, folder / "optimizer.pt")
    seal(folder)
    content = bytearray((folder / "optimizer.pt").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "optimizer.pt").write_bytes(content)
    assert broken(folder) == "optimizer.pt does not have the checksum that was written"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"a": {"size": 1}}}'])
def test_a_seal_that_cannot_be_read_is_no_seal(checkpoint, text):
    (checkpoint / SEAL).write_text(text)
    assert broken(checkpoint) == f"{SEAL} cannot be read"


@pytest.mark.parametrize("name", ["helpful/adapter_model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_what_was_not_written_to_its_end_is_not_sealed(checkpoint, name):
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(OSError, match="cannot be read back") as caught:
        seal(checkpoint)
    assert caught.value.filename == str(path)
    assert not (checkpoint / SEAL).exists()
    assert broken(checkpoint).startswith(f"{name}: cannot be read back")  # a checkpoint of before there were seals


def test_a_damaged_tensor_in_an_archive_is_not_sealed(checkpoint):
    path = checkpoint / "optimizer.pt"
    content = path.read_bytes()
    tensor = torch.tensor(3.0).numpy().tobytes()
    assert content.count(tensor) == 1
    path.write_bytes(content.replace(tensor, b"\0\0\0\0"))
    with pytest.raises(OSError, match=r"optimizer/data/0 in it is damaged"):
        seal(checkpoint)


def test_archives_of_another_kind_are_sealed_as_they_are(checkpoint):
    (checkpoint / "optimizer.pt").write_bytes(b"\x80\x02 an older pickle")
    seal(checkpoint)
    assert broken(checkpoint) is None
