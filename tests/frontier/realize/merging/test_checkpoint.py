import json

import pytest
import torch
from tiny_checkpoints import edit_config, edit_tensors, load_tensors

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import Checkpoint, InMemory


def read(source, name):
    layout = source.layouts[name]
    return source.read(name, 0, layout.numel).view(layout.shape)


@pytest.mark.parametrize("which", ["base", "one", "two"])
def test_every_tensor_is_read_as_it_was_saved(llamas, which):
    source, expected = Checkpoint(llamas[which]), load_tensors(llamas[which])
    assert source.layouts.keys() == expected.keys()
    assert list(source.layouts) == sorted(source.layouts)
    assert all(torch.equal(read(source, name), tensor) for name, tensor in expected.items())
    assert len(list(llamas[which].glob("*.safetensors"))) == (
        1 if which != "one" else len(set(map(source.place, expected)))
    )


def test_a_digest_of_the_index(llamas):
    import hashlib

    index = llamas["one"] / "model.safetensors.index.json"
    assert Checkpoint(llamas["one"]).sha256 == hashlib.sha256(index.read_bytes()).hexdigest()
    assert len(Checkpoint(llamas["base"]).sha256) == 64


def test_a_tied_output_layer_is_the_embedding(fresh):
    source = Checkpoint(fresh("tied", tied=True))
    assert source.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert "lm_head.weight" not in source.layouts
    assert torch.equal(source.mapped("lm_head.weight"), source.mapped("model.embed_tokens.weight"))


def test_a_tied_output_layer_that_the_file_holds_nevertheless(fresh):
    folder = fresh("tied", tied=True)
    edit_tensors(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert Checkpoint(folder).tied == {"lm_head.weight": "model.embed_tokens.weight"}
    edit_tensors(folder, lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(InputError, match=r"ties 'lm_head.weight' to 'model.embed_tokens.weight'"):
        Checkpoint(folder)


def test_an_encoder_has_nothing_to_tie(fresh):
    folder = fresh("encoder", tied=True)
    edit_config(folder, architectures=["LlamaModel"], tie_word_embeddings=None)
    assert Checkpoint(folder).tied == {}


def test_gpt2_ties_by_default(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("tie_word_embeddings", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Checkpoint(tmp_path).tied == {"lm_head.weight": "transformer.wte.weight"}


class TestRefuses:
    def test_what_is_no_model(self, tmp_path):
        with pytest.raises(InputError, match=r"config\.json: no such file"):
            Checkpoint(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(InputError, match=r"has neither model\.safetensors nor"):
            Checkpoint(tmp_path)
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle"):
            Checkpoint(tmp_path)
        (tmp_path / "config.json").write_text("[")
        with pytest.raises(InputError, match="not readable as JSON"):
            Checkpoint(tmp_path)

    def test_quantised_models(self, fresh):
        folder = fresh("quantised")
        edit_config(folder, quantization_config={"bits": 4})
        with pytest.raises(InputError, match="is quantised"):
            Checkpoint(folder)

    def test_a_shard_that_is_missing(self, fresh):
        folder = fresh("shards", shard="20KB")
        sorted(folder.glob("model-*"))[1].unlink()
        with pytest.raises(InputError, match=r"model-00002-of-\d+\.safetensors: no such file"):
            Checkpoint(folder)

    def test_a_shard_that_is_corrupt(self, fresh):
        folder = fresh("shards", shard="20KB")
        sorted(folder.glob("model-*"))[1].write_bytes(b"\0" * 100)
        with pytest.raises(InputError, match=r"model-00002-of-\d+\.safetensors: corrupt"):
            Checkpoint(folder)

    def test_an_index_that_does_not_fit_the_shards(self, fresh):
        folder = fresh("shards", shard="20KB")
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        file = index["weight_map"].pop("model.norm.weight")
        path.write_text(json.dumps(index))
        with pytest.raises(InputError, match=r"holds tensor 'model.norm.weight', which the index"):
            Checkpoint(folder)
        index["weight_map"]["model.norm.weight"] = file
        index["weight_map"]["model.extra.weight"] = file
        path.write_text(json.dumps(index))
        with pytest.raises(InputError, match=r"tensor 'model.extra.weight' is not in"):
            Checkpoint(folder)

    def test_dtypes_without_a_name(self, tmp_path):
        header = b'{"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
        (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(InputError, match=r"tensor 'x' is F4|corrupt"):
            Checkpoint(tmp_path)


def test_in_memory_names_that_share_a_tensor_are_tied():
    shared = torch.randn(4, 3)
    source = InMemory({"a": shared, "b": shared, "c": shared.T, "d": shared.clone()}, "x")
    assert source.tied == {"b": "a"}
    assert list(source.layouts) == ["a", "c", "d"]
    assert torch.equal(read(source, "c"), shared.T)
    assert source.read("a", 2, 5).tolist() == shared.flatten()[2:5].tolist()
