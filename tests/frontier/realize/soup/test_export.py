import json

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.soup import Experts, Soup, SoupedModel, export_lora, export_merged


@pytest.fixture
def expected(base, experts, soup, ids):
    with torch.no_grad(), SoupedModel(base, experts).use(soup) as model:
        return model(ids).logits


def test_one_lora_is_the_soup_whatever_its_blocks(expected, experts, soup, tiny_base, tmp_path, ids):
    export_lora(soup, experts, tmp_path / "lora", base=str(tiny_base))
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "lora").eval()
    assert_close(plain(ids).logits, expected, atol=1e-5, rtol=1e-5)
    record = json.loads((tmp_path / "lora" / "soup.json").read_text())
    assert Soup.from_json(record["soup"]) == soup
    modules = LoraFolder.read(tmp_path / "lora").modules
    # q_proj: of helpful (rank 4) and brief (rank 6); warm is only on down_proj, of coefficient 0 in the first layer.
    assert modules["model.layers.0.self_attn.q_proj"].rank == 10
    assert modules["model.layers.0.mlp.down_proj"].rank == 6
    assert modules["model.layers.1.mlp.down_proj"].rank == 8


def test_the_base_as_a_lora_changes_nothing(base, experts, tiny_base, tmp_path, ids):
    export_lora(Soup.base(experts.names), experts, tmp_path / "lora")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "lora").eval()
    assert torch.equal(plain(ids).logits, base(ids).logits)


def test_merged_weights_are_the_soup(expected, experts, soup, tiny_base, tmp_path, ids):
    report = export_merged(soup, experts, str(tiny_base), tmp_path / "merged", progress=False)
    assert report.method == "task_arithmetic"
    assert_close(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert (tmp_path / "merged" / "soup.json").is_file()


def test_an_export_that_is_not_finished_leaves_nothing(experts, soup, tiny_base, tmp_path, monkeypatch):
    def broken(folder):
        raise OSError("no more room")

    with pytest.raises(OSError, match="no more room"):
        export_lora(soup, experts, tmp_path / "out", finish=broken)
    monkeypatch.setattr("frontier.realize.soup.export.record_of", lambda *_: broken(None))
    with pytest.raises(OSError, match="no more room"):
        export_merged(soup, experts, str(tiny_base), tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_soup_takes_the_place_of_another_export(experts, soup, tiny_base, tmp_path):
    export_merged(soup, experts, str(tiny_base), tmp_path / "out", progress=False)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    export_lora(soup, experts, tmp_path / "out", finish=lambda folder: (folder / "more").write_text("more"))
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert held == {"adapter_config.json", "adapter_model.safetensors", "soup.json", "notes.txt", "more"}


def test_a_shared_adapter_counts_for_every_expert(base, plain_adapters, tiny_base, tmp_path, ids):
    shared = plain_adapters["warm"]
    experts = Experts.read({"helpful": plain_adapters["helpful"], "brief": plain_adapters["brief"]}, shared)
    by_hand = Experts.read(plain_adapters)
    soup = Soup.alike(experts.names, (0.25, 0.5))
    alike = Soup.alike(by_hand.names, (0.25, 0.5, 0.75))
    with torch.no_grad(), SoupedModel(base, by_hand).use(alike) as model:
        expected = model(ids).logits
    with torch.no_grad(), SoupedModel(base, experts).use(soup) as model:
        assert_close(model(ids).logits, expected)
    export_merged(soup, experts, str(tiny_base), tmp_path / "merged", progress=False)
    assert_close(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(ids).logits, expected, atol=1e-5, rtol=1e-5)


def test_whole_models_have_no_lora(tiny_base, tmp_path):
    experts = Experts.read({"a": tiny_base, "b": tiny_base})
    with pytest.raises(InputError, match="export the merged model"):
        export_lora(Soup.alike(("a", "b"), (0.5, 0.5)), experts, tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_refuses_experts(plain_adapters, tmp_path):
    with pytest.raises(InputError, match="at least 2 experts, found helpful"):
        Experts.read({"helpful": plain_adapters["helpful"]})
    with pytest.raises(InputError, match="no such folder"):
        Experts.read({"a": plain_adapters["helpful"], "b": tmp_path / "nothing"})
    experts = Experts.read(plain_adapters)
    with pytest.raises(InputError, match="these experts are helpful, brief, warm"):
        experts.factors(Soup.alike(("a", "b"), (1, 0)))
