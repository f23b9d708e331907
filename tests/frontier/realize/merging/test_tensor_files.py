import errno
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from frontier.errors import InputError
from frontier.realize.merging.tensor_files import Layout, TensorFile, TensorFileWriter, shard_names, split_into_shards

TENSORS = {
    "a": torch.arange(12, dtype=torch.float32).view(3, 4),
    "b": torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "empty": torch.zeros(0, 3),
    "flags": torch.tensor([True, False, True]),
    'ä"name': torch.ones(2, dtype=torch.float16),
}


def layouts(tensors):
    return {name: Layout(tuple(t.shape), t.dtype) for name, t in tensors.items()}


def test_reads_what_the_formats_own_library_wrote(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors")
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.layouts == layouts(TENSORS)
    for name, expected in TENSORS.items():
        assert torch.equal(file.read(name).view(expected.shape), expected)
        assert torch.equal(file.mapped(name), expected)
    assert file.read("a", 5, 8).tolist() == [5.0, 6.0, 7.0]
    assert file.read("b", 1, 2).item() == -2.0


def test_the_formats_own_library_reads_what_we_write(tmp_path):
    writer = TensorFileWriter(tmp_path / "x.safetensors", layouts(TENSORS))
    for name, tensor in reversed(TENSORS.items()):
        if name != "a":
            writer.write(name, 0, tensor)
    writer.write("a", 8, TENSORS["a"][2])
    writer.write("a", 0, TENSORS["a"][:2])
    writer.close()
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())
    length = int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little")
    assert length % 8 == 0
    assert json.loads((tmp_path / "x.safetensors").read_bytes()[8 : 8 + length])["__metadata__"] == {"format": "pt"}


def test_pieces_from_many_threads(tmp_path):
    whole = torch.randn(1000)
    save_file({"x": whole}, tmp_path / "in.safetensors")
    source = TensorFile(tmp_path / "in.safetensors")
    writer = TensorFileWriter(tmp_path / "out.safetensors", source.layouts)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: writer.write("x", i, source.read("x", i, i + 10)), range(0, 1000, 10)))
    writer.close()
    assert torch.equal(load_file(tmp_path / "out.safetensors")["x"], whole)


def test_refuses_pieces_that_do_not_fit(tmp_path):
    writer = TensorFileWriter(tmp_path / "x.safetensors", {"x": Layout((4,), torch.float32)})
    for piece, start in ((torch.zeros(4, dtype=torch.float64), 0), (torch.zeros(3), 2)):
        with pytest.raises(ValueError, match="tensor 'x'"):
            writer.write("x", start, piece)
    writer.close()


@pytest.mark.parametrize("cut", [4, 30, -1])
def test_refuses_a_file_that_was_cut_off(tmp_path, cut):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(10)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"x\.safetensors: corrupt"):
        TensorFile(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(1000)}, path)
    file = TensorFile(path)
    os.truncate(path, 2000)
    with pytest.raises(InputError, match="ends in the middle of tensor 'x'"):
        file.read("x")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        TensorFile(tmp_path / "x.safetensors")


def test_the_room_is_taken_before_anything_is_written(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    writer = TensorFileWriter(path, {"x": Layout((1000,), torch.float32)})
    assert path.stat().st_size > 4000
    assert path.stat().st_blocks * 512 >= 4000
    writer.close()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        TensorFileWriter(tmp_path / "y.safetensors", {"x": Layout((1000,), torch.float32)})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 60))
def test_shards_keep_the_order_and_the_limit(sizes, limit):
    tensors = {str(i): Layout((size,), torch.uint8) for i, size in enumerate(sizes)}
    shards = split_into_shards(tensors, limit)
    assert [name for shard in shards for name in shard] == list(tensors)
    for shard in shards:
        assert len(shard) == 1 or sum(layout.nbytes for layout in shard.values()) <= limit
    for shard, following in itertools.pairwise(shards):
        assert sum(layout.nbytes for layout in shard.values()) + next(iter(following.values())).nbytes > limit


def test_names():
    assert shard_names(1) == ("model.safetensors",)
    assert shard_names(2)[1] == "model-00002-of-00002.safetensors"
