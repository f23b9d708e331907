import json
import shutil

import pytest
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from moalign.exporting.live import export_policy
from moalign.preference import Preference
from moalign.serving.vllm.bundles import BrokenBundle, OpenBundle, needed_rank

WEIGHTS = [0.7, 0.2, 0.1]


def test_the_rank_is_the_sum_in_the_fullest_layer(kept_bundle):
    assert needed_rank(kept_bundle) == 10  # q_proj: 4 of helpful and 6 of brief; down_proj: 6 and 2; up_proj: 3


def test_the_adapter_is_the_policys_own_export(policy, kept_bundle, base, tmp_path):
    preference = Preference(dict(zip(policy.objectives, WEIGHTS, strict=True)))
    export_policy(policy, preference, tmp_path / "export", "lora")
    (tmp_path / "made").mkdir()
    rank = OpenBundle.open(kept_bundle, base).write(WEIGHTS, tmp_path / "made")
    assert rank == 10
    made, exported = LoraFolder.read(tmp_path / "made"), LoraFolder.read(tmp_path / "export")
    assert made.base == base
    assert made.tensors == exported.tensors
    for name in made.tensors:
        assert_close(made.delta(name), exported.delta(name), atol=1e-6, rtol=0)


def test_weight_zero_adds_no_rank(kept_bundle, base, tmp_path):
    (tmp_path / "made").mkdir()
    assert OpenBundle.open(kept_bundle, base).write([1.0, 0.0, 0.0], tmp_path / "made") == 4


def test_another_base_is_refused_by_its_weights(kept_bundle, untied_base):
    with pytest.raises(InputError, match="is not the base model of bundle"):
        OpenBundle.open(kept_bundle, str(untied_base))


def test_the_base_may_lie_elsewhere(kept_bundle, base, tmp_path):
    shutil.copytree(base, tmp_path / "moved")
    assert OpenBundle.open(kept_bundle, str(tmp_path / "moved")).base_name == str(tmp_path / "moved")


def test_a_hub_model_is_looked_up_on_this_machine_only(kept_bundle, base, monkeypatch):
    asked = {}

    def snapshot_download(name, revision, local_files_only):
        asked.update(name=name, revision=revision, local_files_only=local_files_only)
        return base

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert OpenBundle.open(kept_bundle, "lab/model").base_name == "lab/model"
    assert asked == {"name": "lab/model", "revision": None, "local_files_only": True}
    monkeypatch.undo()
    with pytest.raises(InputError, match="files of the served model 'lab/model' are not on this machine"):
        OpenBundle.open(kept_bundle, "lab/model")


def test_an_altered_file_is_a_broken_bundle(bundle, base):
    with (bundle / "brief" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(BrokenBundle, match="was altered"):
        OpenBundle.open(bundle, base)


def test_a_bundle_that_changes_while_it_is_read_is_not_used(bundle, base, monkeypatch):
    from moalign.exporting.source import ExportSource

    read = ExportSource.from_bundle

    def and_then_changed(*arguments):
        found = read(*arguments)
        file = bundle / "steer.json"
        file.write_text(file.read_text() + "\n")
        return found

    monkeypatch.setattr(ExportSource, "from_bundle", and_then_changed)
    with pytest.raises(BrokenBundle, match="changed while it was read"):
        OpenBundle.open(bundle, base)


@pytest.mark.parametrize("field", ["modules_to_save", "use_dora", "lora_bias"])
def test_what_vllm_does_not_load_is_refused_at_start(bundle, field):
    file = bundle / "brief" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: ["lm_head"]}))
    with pytest.raises(InputError, match=f"has {field}, which vLLM does not load"):
        needed_rank(bundle)


def test_a_policy_that_reads_its_preference_has_no_adapter_for_one(bundle):
    file = bundle / "steer.json"
    content = json.loads(file.read_text())
    content["conditioning"] = {"kind": "prompt", "adapters": ["brief"]}
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="reads its preference in the prompt"):
        needed_rank(bundle)
