import dataclasses
import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from frontier.errors import InputError
from moalign.bundle import BaseModel, Manifest, weights_digest
from moalign.exporting import export_grid, export_point
from moalign.exporting.source import ExportSource, check_digest, split_revision
from moalign.preference import Preference


def test_a_bundle_is_opened_without_its_model(bundle):
    source = ExportSource.from_bundle(bundle)
    assert [folder.path.name for folder in source.folders] == ["helpful", "brief", "warm"]
    assert source.weights(Preference.parse("brief=0.3,helpful=0.7")) == [0.7, 0.3, 0.0]
    assert source.base_name == str(bundle.parent / "base")


def test_loose_adapters(tiny_base, plain_adapters):
    source = ExportSource.from_adapters(tiny_base, plain_adapters)
    assert source.manifest.objectives == ("helpful", "brief", "warm")
    assert set(source.manifest.files) >= {"helpful/adapter_model.safetensors"}
    with pytest.raises(InputError, match="adapters is empty"):
        ExportSource.from_adapters(tiny_base, {})


def test_loose_adapters_of_two_bases_are_refused(tiny_base, plain_adapters, tmp_path):
    other = shutil.copytree(plain_adapters["brief"], tmp_path / "brief")
    config = (other / "adapter_config.json").read_text()
    (other / "adapter_config.json").write_text(config.replace(str(tiny_base), "some/other"))
    source = ExportSource.from_adapters(tiny_base, {"helpful": plain_adapters["helpful"], "brief": other})
    with pytest.raises(InputError, match="adapters of different bases cannot be mixed"):
        source.total([0.5, 0.5])


def test_another_base_is_refused(bundle, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(bundle.parent / "base")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=r"other is not the base model of bundle .*: the digest of its weights is"):
        ExportSource.from_bundle(bundle, tmp_path / "other")
    with pytest.raises(InputError, match=r"cannot open the base model '.*nowhere' \(bundle .* needs it\).*--base"):
        ExportSource.from_bundle(bundle, tmp_path / "nowhere")


def test_the_digest_of_old_files_is_that_of_the_model(tmp_path):
    """Without the first part of every name, and with buffers that are no weights."""
    from safetensors.torch import load_file, save_file

    from frontier.realize.merging.checkpoint import Checkpoint

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    model.save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    old = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(old | {"h.0.attn.bias": torch.ones(1, 1, 4, 4)}, file, metadata={"format": "pt"})
    manifest = Manifest(("a",), BaseModel("x", weights_digest(model.state_dict().items())))
    check_digest(Checkpoint(tmp_path / "base"), manifest, tmp_path)
    with torch.no_grad():
        model.transformer.wpe.weight.add_(1)
    other = Manifest(("a",), BaseModel("x", weights_digest(model.state_dict().items())))
    with pytest.raises(InputError, match="is not the base model"):
        check_digest(Checkpoint(tmp_path / "base"), other, tmp_path)


@pytest.fixture
def hub(bundle, monkeypatch):
    """A hub that has the bundle's base at one revision; its list says what was asked for."""
    asked = []

    def find(name):
        asked.append(name)
        return bundle.parent / "base"

    monkeypatch.setattr("moalign.exporting.source.find_folder", find)
    return asked


def test_a_revision_is_no_part_of_a_name(bundle, plain_adapters, hub, tmp_path):
    one, two = (
        ExportSource.from_bundle(bundle, "org/base@v2"),
        ExportSource.from_adapters("org/base@v2", plain_adapters),
    )
    assert hub == ["org/base@v2"] * 2
    for source in (one, two):
        assert (source.base_name, source.manifest.base.revision) == ("org/base", "v2")
    export_point(one, Preference.parse("helpful=1.0"), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["base_model_name_or_path"], written["revision"]) == ("org/base", "v2")
    export_grid(one, [Preference.parse("helpful=1.0")], tmp_path / "grid")
    written = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert (written["base"], written["base_revision"]) == ("org/base", "v2")
    assert ExportSource.from_bundle(bundle, "org/base").manifest.base.revision is None


def test_a_folder_may_have_the_sign_in_its_name(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert split_revision(tmp_path / "a@b") == (str(tmp_path / "a@b"), None)


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_no_form_mixes_adapters_of_two_bases(tiny_base, plain_adapters, bundle, tmp_path, kind):
    """Those of a bundle are of one: it has the digest of their base."""
    other = shutil.copytree(plain_adapters["brief"], tmp_path / "brief")
    config = (other / "adapter_config.json").read_text()
    (other / "adapter_config.json").write_text(config.replace(str(tiny_base), "some/other"))
    source = ExportSource.from_adapters(tiny_base, {"helpful": plain_adapters["helpful"], "brief": other})
    message = r"adapters of different bases.*some/other.*write one name into base_model_name_or_path"
    with pytest.raises(InputError, match=message):
        export_point(source, Preference.parse("helpful=0.5,brief=0.5"), tmp_path / "out", kind, progress=False)
    assert not (tmp_path / "out").exists()
    one = dataclasses.replace(source, same_base=False)
    export_point(one, Preference.parse("helpful=0.5,brief=0.5"), tmp_path / "out", kind, progress=False)
    assert (tmp_path / "out").exists()
