import json
import shutil
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_checkpoints import edit_tensors, load_tensors
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.merging import merge


def recipe(method, models):
    """`models`: folder to settings."""
    return {"merge_method": method, "models": [{"model": str(f), "parameters": own} for f, own in models.items()]}


def merged(config, out, **options):
    merge(config, out, progress=False, **options)
    return load_tensors(out)


def halves(llamas, **settings):
    return recipe("linear", {llamas["one"]: {"weight": 1}, llamas["two"]: {"weight": 3}}) | settings


@pytest.fixture
def adapter(llamas, tmp_path):
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(llamas["base"]), settings).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


class TestTheOutputFolder:
    def test_a_model_is_replaced_only_if_asked(self, llamas, tmp_path):
        out = tmp_path / "out"
        merge(halves(llamas), out, progress=False)
        (out / "notes.md").write_text("mine")
        with pytest.raises(InputError, match=r"already holds a model \(model\.safetensors\)"):
            merge(halves(llamas), out, progress=False)
        merge(halves(llamas, dtype="bfloat16"), out, progress=False, overwrite=True, max_shard_size=20_000)
        assert not (out / "model.safetensors").exists()  # a reader would take the old file instead of the shards
        assert {t.dtype for t in load_tensors(out).values()} == {torch.bfloat16}
        assert (out / "notes.md").read_text() == "mine"

    def test_a_refused_merge_leaves_the_old_model(self, llamas, fresh, tmp_path):
        out = tmp_path / "out"
        before = merged(halves(llamas), out)
        spoiled = fresh("b")
        edit_tensors(spoiled, lambda t: t["model.norm.weight"].fill_(torch.nan))
        with pytest.raises(InputError, match="NaN"):
            merge(recipe("linear", {spoiled: {"weight": 1}}), out, progress=False, overwrite=True)
        assert all(torch.equal(before[name], tensor) for name, tensor in load_tensors(out).items())

    def test_never_an_input(self, fresh, tmp_path):
        folder = fresh("a")
        with pytest.raises(InputError, match="which is merged: write to another"):
            merge(recipe("linear", {folder: {"weight": 1}}), folder, progress=False, overwrite=True)
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="is a file, expected a folder"):
            merge(recipe("linear", {folder: {"weight": 1}}), tmp_path / "file", progress=False)

    def test_an_adapter_that_was_there_is_not_put_on_the_merged_model(self, llamas, adapter):
        with pytest.raises(InputError, match=r"already holds a model \(adapter_config\.json\)"):
            merge(halves(llamas), adapter, progress=False)
        (adapter / "notes.md").write_text("mine")
        found = merged(halves(llamas), adapter, overwrite=True)
        left = sorted(path.name for path in adapter.iterdir())
        assert left == ["README.md", "config.json", "generation_config.json", "model.safetensors", "notes.md"]
        state = AutoModelForCausalLM.from_pretrained(adapter).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in found.items())

    def test_files_of_an_old_tokenizer_do_not_mix_with_the_new_one(self, llamas, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
            (out / name).write_text("{}")
        with pytest.raises(InputError, match=r"already holds a model \(tokenizer\.json\)"):
            merge(halves(llamas), out, progress=False)
        merge(halves(llamas), out, progress=False, overwrite=True)
        assert not list(out.glob("*token*"))

    def test_an_error_at_the_last_moment_leaves_the_old_model_whole(self, llamas, tmp_path, monkeypatch):
        out = tmp_path / "out"
        before = merged(halves(llamas), out)

        def fail(*args):
            raise RuntimeError("card")

        monkeypatch.setattr(sys.modules[merge.__module__], "model_card", fail)
        with pytest.raises(RuntimeError, match="card"):
            merge(halves(llamas, dtype="bfloat16"), out, progress=False, overwrite=True)
        assert all(torch.equal(before[name], tensor) for name, tensor in load_tensors(out).items())
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_never_an_adapter_that_is_merged(self, llamas, adapter):
        config = recipe("linear", {f"{llamas['base']}+{adapter}": {"weight": 1}})
        with pytest.raises(InputError, match="which is merged: write to another"):
            merge(config, adapter, progress=False, overwrite=True)
        grid = adapter.parent / "grid"
        shutil.copytree(adapter, grid / "0")
        (grid / "grid.json").write_text(json.dumps({"adapters": [{"folder": "0"}]}))
        config = recipe("linear", {f"{llamas['base']}+{grid / '0'}": {"weight": 1}})
        with pytest.raises(InputError, match="in a grid that would be replaced"):
            merge(config, grid, progress=False, overwrite=True)
        assert (grid / "0" / "adapter_config.json").exists()
