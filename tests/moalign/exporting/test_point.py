import errno
import json
import os

import pytest
import torch
import yaml
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from frontier.errors import InputError
from moalign.bundle import read_manifest
from moalign.exporting import ExportSource, export_point
from moalign.exporting.expected import ExpectedRewards
from moalign.exporting.live import export_policy, logit_measure
from moalign.preference import Preference

IDS = torch.tensor([[1, 5, 6, 7]])
POINT = Preference.parse("helpful=0.7,brief=0.3")


def run(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def exact(policy, preference=POINT):
    with torch.no_grad(), policy.steer(preference) as model:
        return model(IDS).logits


def loaded(kind, folder, base):
    if kind == "merged":
        return AutoModelForCausalLM.from_pretrained(folder)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


@pytest.mark.parametrize("kind", ["lora", "merged"])
@pytest.mark.parametrize("live", [False, True], ids=["from files", "from memory"])
def test_all_ways_are_the_policy(policy, bundle, tiny_base, tmp_path, kind, live):
    out = tmp_path / "out"
    if live:
        export_policy(policy, POINT, out, kind)
    else:
        export_point(ExportSource.from_bundle(bundle), POINT, out, kind, progress=False)
    assert_close(run(loaded(kind, out, tiny_base)), exact(policy), atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(out)("a good day").input_ids == policy.tokenizer("a good day").input_ids
    assert (out / "README.md").is_file()


def test_a_truncation_reports_what_plain_peft_would_see(policy, bundle, tiny_base, tmp_path):
    measure = logit_measure(policy, [0.7, 0.3, 0.0], ["a good day", "yes"])
    facts = export_point(
        ExportSource.from_bundle(bundle), POINT, tmp_path / "out", "truncated", rank=2, measure=measure
    )
    assert (facts.rank, facts.truncation.logits.prompts) == (2, 2)
    assert 0 < facts.truncation.relative_error < 1
    live = export_policy(policy, POINT, tmp_path / "live", "truncated", rank=2, prompts=["a good day", "yes"])
    assert live.truncation.relative_error == pytest.approx(facts.truncation.relative_error, rel=1e-5)
    assert live.truncation.logits.kl_mean == pytest.approx(facts.truncation.logits.kl_mean, rel=1e-3)
    cut, whole = run(loaded("lora", tmp_path / "out", tiny_base)), exact(policy)
    assert float((cut - whole).norm() / whole.norm()) > 1e-3  # something was cut off
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["relative_error"] == facts.truncation.relative_error
    assert written["logit_error"]["kl_max"] == facts.truncation.logits.kl_max
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Relative error of the whole change in Frobenius norm: {facts.truncation.relative_error:.3g}." in card
    assert "On 2 prompts (" in card
    assert set(json.loads((tmp_path / "out" / "truncation.json").read_text())["layers"]) == set(facts.truncation.layers)


def test_the_card_says_what_to_expect_and_where_it_came_from(bundle, front, tmp_path):
    expected = ExpectedRewards(front)(Preference.parse("helpful=0.5,brief=0.5"))
    source = ExportSource.from_bundle(bundle)
    export_point(source, Preference.parse("helpful=0.5,brief=0.5"), tmp_path / "out", expected=expected)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| helpful | 0.5 | 2.5 | 2.3 to 2.7 |" in card
    assert "| brief | 0.5 | 2.5 | 2.1 to 2.9 |" in card
    assert "Measured, on 64 prompts a point." in card
    manifest = read_manifest(bundle)
    digest = manifest.files["helpful/adapter_model.safetensors"]
    assert f"| adapter helpful | weight 0.5, sha256 `{digest}` |" in card
    assert f"`{manifest.base.digest}`" in card
    assert f"| exported from | `{bundle}` |" in card
    assert "| method | clp |" in card
    assert "--max-lora-rank 16" in card  # of ranks 4 + 6 vLLM's next
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata == {"library_name": "peft", "tags": ["moalign", "multi-objective", "lora"]}  # a folder is no hub id
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    assert written["expected"]["interval_95"]["helpful"] == pytest.approx([2.300166, 2.699834], abs=1e-5)
    assert written["adapters_sha256"]["helpful"] == digest
    assert written["preference"] == {"weights": {"helpful": 0.5, "brief": 0.5}}


def test_without_a_front_the_card_says_so(bundle, tmp_path):
    export_point(ExportSource.from_bundle(bundle), POINT, tmp_path / "out")
    assert "Expected rewards: not known" in (tmp_path / "out" / "README.md").read_text()


def test_one_kind_replaces_another_wholly(bundle, tmp_path):
    """transformers would put an old adapter on a new model without a word."""
    source = ExportSource.from_bundle(bundle)
    export_point(source, POINT, tmp_path / "out", "truncated", rank=2)
    export_point(source, POINT, tmp_path / "out", "merged", progress=False)
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert not found & {"adapter_config.json", "adapter_model.safetensors", "truncation.json"}
    export_point(source, POINT, tmp_path / "out")
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("kind", "rank", "message"),
    [
        ("lara", None, "unknown kind of export 'lara': did you mean 'lora'"),
        ("truncated", None, "needs its rank"),
        ("lora", 3, "--rank 3 is what a truncated export is cut to"),
        ("truncated", 0, "rank must be a positive integer"),
    ],
)
def test_refuses(policy, bundle, tmp_path, kind, rank, message):
    with pytest.raises(InputError, match=message):
        export_point(ExportSource.from_bundle(bundle), POINT, tmp_path / "out", kind, rank=rank)
    with pytest.raises(InputError, match=message):
        export_policy(policy, POINT, tmp_path / "out", kind, rank=rank)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(bundle, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    source = ExportSource.from_bundle(bundle)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match=r"no space left on device: the adapter takes .* KB"):
        export_point(source, POINT, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
