import json
import os
import time

import pytest
import torch

from frontier.errors import InputError
from reward_heads.probes import fingerprint as module
from reward_heads.probes.fingerprint import FileHashes, fingerprint, state_digest, tokenizer_digest, weight_files
from tests.reward_heads.conftest import make_tokenizer


def test_parts_in_any_order():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_known_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert FileHashes()(tmp_path / "file") == expected


@pytest.fixture
def counted(monkeypatch):
    """How many files were read."""
    calls = []
    real = module.hashlib.file_digest
    monkeypatch.setattr(module.hashlib, "file_digest", lambda *args: calls.append(1) or real(*args))
    return calls


def old_file(path, content):
    path.write_bytes(content)
    past = time.time() - 100
    os.utime(path, (past, past))
    return path


def settle(monkeypatch):
    monkeypatch.setattr(module, "_SETTLED_SECONDS", -1.0)


def test_reads_a_file_once_even_in_another_process(tmp_path, counted, monkeypatch):
    settle(monkeypatch)
    path, store = old_file(tmp_path / "weights", b"abc"), tmp_path / "hashes.json"
    first = FileHashes(store)(path)
    assert FileHashes(store)(path) == first
    assert len(counted) == 1


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path, monkeypatch):
    settle(monkeypatch)
    path = old_file(tmp_path / "weights", b"abc")
    hashes = FileHashes(tmp_path / "hashes.json")
    before, times = hashes(path), os.stat(path)
    path.write_bytes(b"abd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashes(path) != before


def test_a_file_that_may_still_be_written_is_not_remembered(tmp_path, counted):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    hashes = FileHashes()
    hashes(path)
    hashes(path)
    assert len(counted) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 3}', '{"a": [1, 2, 3, "x", "y"]}'])
def test_a_broken_store_is_written_anew(tmp_path, content, monkeypatch):
    settle(monkeypatch)
    path, store = old_file(tmp_path / "weights", b"abc"), tmp_path / "hashes.json"
    store.write_text(content)
    with pytest.warns(UserWarning, match="can't be read"):
        hashes = FileHashes(store)
    with pytest.warns(UserWarning, match="can't be read"):
        digest = hashes(path)
    assert json.loads(store.read_text())[str(path)][-1] == digest


def test_finds_the_weights_that_transformers_would(tmp_path):
    with pytest.raises(InputError, match=r"no weights in .*: looked for model.safetensors"):
        weight_files(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="merge it into its base"):
        weight_files(tmp_path)
    (tmp_path / "pytorch_model.bin").write_text("")
    assert [path.name for path in weight_files(tmp_path)] == ["pytorch_model.bin"]
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    names = ["model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"]
    assert [path.name for path in weight_files(tmp_path)] == names
    (tmp_path / "model.safetensors").write_text("")
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


def test_state_digest_sees_names_types_shapes_and_bits():
    state = {"a": torch.zeros(2, 3), "b": torch.ones(3)}
    assert state_digest(state) == state_digest({"b": torch.ones(3), "a": torch.zeros(2, 3).clone()})
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(3)},
        {"a": torch.zeros(2, 3), "c": torch.ones(3)},
        {"a": torch.zeros(2, 3).double(), "b": torch.ones(3)},
        {"a": -torch.zeros(2, 3), "b": torch.ones(3)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.ones(3)},
    ]
    assert len({state_digest(other) for other in [state, *others]}) == 6


def test_tokenizer_digest_ignores_the_last_call_and_sees_the_rest():
    tokenizer = make_tokenizer()
    before = tokenizer_digest(tokenizer)
    tokenizer(["the cat sat", "a"], padding=True, truncation=True, max_length=2)
    assert tokenizer_digest(tokenizer) == before == tokenizer_digest(make_tokenizer())
    others = [make_tokenizer(add_bos=False), make_tokenizer(eos=False), make_tokenizer(chat_template="x")]
    assert len({before, *map(tokenizer_digest, others)}) == 4
