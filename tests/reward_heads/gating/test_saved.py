import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from frontier.errors import InputError
from reward_heads import Normalizer, TransformerReward
from reward_heads.calibrate import Calibration
from reward_heads.calibrate.maps import Affine
from reward_heads.gating import Gate, GateConfig, GatedReward
from reward_heads.gating.network import GateNetwork
from reward_heads.gating.saved import read_gate
from reward_heads.probes import Embedder
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import TransformedReward

from .conftest import FAST, KindOfPrompt

PROMPTS, COMPLETIONS = ["ask me the cat", "the sky", "sea"], [" good", " bad cat", " red sky sea"]
UNITS = Normalizer(("kind", "brief"), (0.1, 0.2), (2.0, 3.0), 9, "somewhere")


@pytest.fixture
def gate(encoder):
    network = GateNetwork(encoder.width, 2, GateConfig(hidden=(8, 8), temperature=0.3))
    network.standardise(torch.randn(20, encoder.width))
    return Gate(network, ["kind", "brief"], embedder=encoder, normalizer=UNITS, fitted_on="pairs")


@pytest.fixture
def corrected(base, tokenizer):
    reward = TransformerReward.from_base(base, ["kind", "brief"], tokenizer=tokenizer)
    return TransformedReward(reward, [Calibration(("kind", "brief"), (Affine(2.0, 0.5), Affine(3.0, 0.0)))])


def test_a_gate_alone(gate, tmp_path):
    gate.save_pretrained(tmp_path / "gate")
    loaded = Gate.from_pretrained(tmp_path / "gate")
    assert torch.equal(loaded.weights(PROMPTS), gate.weights(PROMPTS))
    assert loaded.weights(PROMPTS).std(dim=0).min() > 1e-3  # it does look at the prompt
    assert (loaded.objectives, loaded.normalizer, loaded.fitted_on) == (gate.objectives, UNITS, "pairs")
    assert read_gate(tmp_path / "gate")["objectives"] == ["kind", "brief"]
    with pytest.raises(InputError, match="a gate without its reward"):
        load_reward(tmp_path / "gate")


@pytest.mark.parametrize("parts", [False, True])
def test_gate_and_corrected_reward_travel_as_one(gate, corrected, tmp_path, parts):
    gated = GatedReward(corrected, gate, parts=parts, name="better")
    save_reward(gated, tmp_path / "gated")
    loaded = load_reward(tmp_path / "gated")
    assert isinstance(loaded, GatedReward)
    assert isinstance(loaded.reward, TransformedReward)
    assert loaded.objectives == (("kind", "brief") if parts else ("better",))
    assert torch.equal(loaded.score(PROMPTS, COMPLETIONS), gated.score(PROMPTS, COMPLETIONS))
    assert torch.equal(Gate.from_pretrained(tmp_path / "gated").weights(PROMPTS), gate.weights(PROMPTS))


def test_a_correction_cannot_get_lost_behind_the_gate(gate, corrected, tmp_path):
    save_reward(GatedReward(corrected, gate), tmp_path)
    [part] = tmp_path.glob("reward-*")
    (part / "transforms.json").unlink()
    with pytest.raises(InputError, match=r"'reward-[0-9a-f]{8}' is not the reward that was saved with it"):
        load_reward(tmp_path)


def test_saving_over_it_leaves_no_old_correction(gate, corrected, tmp_path):
    save_reward(GatedReward(corrected, gate), tmp_path)
    plain = GatedReward(corrected.reward, gate)
    save_reward(plain, tmp_path)
    assert torch.equal(load_reward(tmp_path).score(PROMPTS, COMPLETIONS), plain.score(PROMPTS, COMPLETIONS))
    assert len(list(tmp_path.glob("reward-*"))) == 1
    gate.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("reward-*"))


def test_a_save_that_is_cut_off_leaves_the_earlier_reward(gate, corrected, tmp_path, monkeypatch):
    gated = GatedReward(corrected, gate)
    save_reward(gated, tmp_path)
    whole = os.replace

    def cut(source, target):
        if str(target) == str(tmp_path / "gate.json"):
            raise KeyboardInterrupt
        whole(source, target)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        save_reward(GatedReward(corrected.reward, gate), tmp_path)
    assert torch.equal(load_reward(tmp_path).score(PROMPTS, COMPLETIONS), gated.score(PROMPTS, COMPLETIONS))


def test_a_fitted_gate_keeps_its_report(encoder, tmp_path):
    from reward_heads.gating import fit_gate_on_rewards

    x, rewards = torch.randn(40, encoder.width), torch.randn(40, 2)
    fitted = fit_gate_on_rewards(x, rewards, ["kind", "brief"], config=FAST)
    Gate(fitted.network, fitted.objectives, embedder=encoder, report=fitted.report).save_pretrained(tmp_path)
    assert Gate.from_pretrained(tmp_path).report == fitted.report


def test_refuses_another_encoder(gate, encoder, tmp_path):
    gate.save_pretrained(tmp_path / "gate")
    expected = gate.weights(PROMPTS)
    with pytest.raises(InputError, match="has width 3"):
        Gate.from_pretrained(tmp_path / "gate", embedder=KindOfPrompt())
    with pytest.raises(InputError, match="have changed; fit the gate anew"):
        Gate.from_pretrained(tmp_path / "gate", embedder=Embedder.from_pretrained(encoder.source, pooling="first"))
    shutil.move(encoder.source, tmp_path / "moved")
    with pytest.raises(InputError, match="if it has moved, give embedder="):
        Gate.from_pretrained(tmp_path / "gate")
    moved = Gate.from_pretrained(tmp_path / "gate", embedder=Embedder.from_pretrained(tmp_path / "moved"))
    assert torch.equal(moved.weights(PROMPTS), expected)


def test_refuses_weights_of_another_save_or_not_finite(gate, tmp_path):
    import hashlib

    gate.save_pretrained(tmp_path)
    weights, marker = tmp_path / "gate.safetensors", tmp_path / "gate.json"
    tensors = load_file(weights)
    tensors["output.bias"][0] = torch.nan
    save_file(tensors, weights)
    with pytest.raises(InputError, match="not the one that was saved with it"):
        Gate.from_pretrained(tmp_path)
    content = json.loads(marker.read_text()) | {"weights": hashlib.sha256(weights.read_bytes()).hexdigest()}
    marker.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"output\.bias is not finite"):
        Gate.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="is missing beside it"):
        Gate.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, "'schema_version' must be 1"),
        ({"objectivs": []}, "did you mean 'objectives'"),
        ({"objectives": ["kind"]}, "not what save_pretrained writes"),
        ({"network": {"hidden": [8, 8], "dropout": 0.2}}, "field 'temperature' is missing"),
        ({"normalizer": {"objectives": []}}, "normalizer"),
        ({"report": {"gains": 1}}, "did you mean 'gain'"),
        ({"embedder": {}}, "not what save_pretrained writes"),
    ],
)
def test_refuses_a_broken_file(gate, tmp_path, change, message):
    gate.save_pretrained(tmp_path)
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as error:
        Gate.from_pretrained(tmp_path)
    assert str(path) in str(error.value)


def test_refuses_what_cannot_be_saved_or_is_not_there(gate, tmp_path):
    with pytest.raises(InputError, match="folder or hub id of its encoder"):
        Gate(gate.network, gate.objectives, embedder=None).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"it has no gate\.json"):
        Gate.from_pretrained(tmp_path / "nowhere")
