import dataclasses
import json
import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.measure.lattice import weight_lattice
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.serving.vllm.adapters import BundleAdapters, Unavailable, snap_weights

IDS = torch.tensor([[1, 5, 6, 7]])


@pytest.fixture
def adapters(settings):
    return BundleAdapters(settings)


def logits(folder, base):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).eval()
    with torch.no_grad():
        return model(IDS).logits


def test_a_name_is_the_policy_at_its_weights(adapters, policy, base):
    found = adapters.find(base, "policy@helpful=0.7,brief=0.2,warm=0.1")
    with torch.no_grad(), policy.steer(Preference.parse("helpful=0.7,brief=0.2,warm=0.1")) as model:
        exact = model(IDS).logits
    assert_close(logits(found.folder, base), exact, atol=1e-5, rtol=1e-5)
    reference = adapters.find(base, "policy@warm=1")
    assert (logits(reference.folder, base) - exact).abs().max() > 0.1  # weights do something


def test_weights_are_snapped_and_what_is_the_same_is_kept_once(adapters, base):
    exact = adapters.find(base, "policy@helpful=0.7,brief=0.3")
    near = adapters.find(base, "policy@brief=0.3100001, helpful=0.6899999, warm=0")
    other = adapters.find(base, "policy@helpful=0.6,brief=0.4")
    assert near == exact
    assert str(near.preference) == "helpful=0.7,brief=0.3,warm=0.0"
    assert other.folder != exact.folder
    assert other.number != exact.number


def test_numbers_are_stable_and_fit(adapters, settings, base, tmp_path):
    elsewhere = BundleAdapters(dataclasses.replace(settings, cache=tmp_path / "elsewhere"))
    for name in ("policy@helpful=1", "policy@brief=1", "policy"):
        number = adapters.find(base, name).number
        assert 0 < number < 2**63
        assert elsewhere.find(base, name).number == number


def test_a_bare_name_is_the_default_preference(settings, bundle, base):
    assert BundleAdapters(settings).find(base, "policy").preference == Preference.parse(
        "helpful=0.4,brief=0.3,warm=0.3"
    )  # uniform, on a lattice of 0.1
    file = bundle / "steer.json"
    content = json.loads(file.read_text())
    content["default_preference"] = {"weights": {"warm": 1.0}}
    file.write_text(json.dumps(content))
    assert BundleAdapters(settings).find(base, "policy").preference == Preference.only("warm")


@pytest.mark.parametrize(
    "name",
    [
        *["", "@", ".", "..", "/etc/passwd", "other@helpful=1", "Policy@helpful=1", "policy/@helpful=1"],
        *["../policy@helpful=1", "./policy@helpful=1", "policy\x00@helpful=1", "policy%00@helpful=1"],
        *["policy@helpful=1," + "x" * 3000, "роlicy@helpful=1"],  # Cyrillic р and о
    ],
)
def test_names_of_no_bundle(adapters, settings, base, name):
    assert adapters.find(base, name) is None
    assert not settings.cache.exists()


def test_path_tricks_in_a_folder_of_bundles(bundle, base, tmp_path):
    from moalign.serving.vllm.settings import Settings

    (tmp_path / "root" / "inner").mkdir(parents=True)
    adapters = BundleAdapters(Settings(root=tmp_path / "root", cache=tmp_path / "cache"))
    for name in ("../bundle@helpful=1", "inner/../../bundle@helpful=1", str(bundle) + "@helpful=1"):
        assert adapters.find(base, name) is None
    bundle.rename(tmp_path / "root" / "late")
    assert adapters.find(base, "late@helpful=1").preference == Preference.parse("helpful=1,brief=0,warm=0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found ''"),
        ("helpfull=1", "did you mean 'helpful'"),
        ("helpful=0.7", "must sum to 1"),
        ("helpful=nan", "must be finite"),
        ("helpful=1e308,brief=1e308", "must sum to 1"),
        ("helpful=1.5,brief=-0.5", "must not be negative"),
        ("helpful=0.5,helpful=0.5", "twice"),
        ("hеlpful=1", "unknown objective"),  # a Cyrillic е
        ("helpful=1@brief=0", "Valid objectives"),
        ("../../x=1", "unknown objective"),
        ("direction:helpful=0.8,brief=-0.6", "a direction"),
        (",".join(f"o{i}=0" for i in range(200)), "unknown objective"),
    ],
)
def test_malformed_weights_are_told_to_whoever_asked(adapters, settings, base, text, message):
    with pytest.raises(InputError, match=message):
        adapters.find(base, f"policy@{text}")
    assert not settings.cache.exists()


def test_a_changed_bundle_never_serves_old_adapters(adapters, settings, bundle, plain_adapters, base, caplog):
    before = adapters.find(base, "policy@helpful=0.7,brief=0.3")
    old = logits(before.folder, base)
    swapped = {
        "helpful": plain_adapters["brief"],
        "brief": plain_adapters["helpful"],
        "warm": plain_adapters["warm"],
    }
    other = SteerablePolicy.from_pretrained(base, adapters=swapped)
    other.save_pretrained(bundle)
    after = adapters.find(base, "policy@helpful=0.7,brief=0.3")
    assert (after.folder, after.number) != (before.folder, before.number)
    with torch.no_grad(), other.steer(Preference.parse("helpful=0.7,brief=0.3")) as model:
        exact = model(IDS).logits
    assert_close(logits(after.folder, base), exact, atol=1e-5, rtol=1e-5)
    assert (old - exact).abs().max() > 0.1
    assert before.folder.is_dir()  # vLLM still has the old name
    assert "changed on the disk" in caplog.text
    assert BundleAdapters(settings).find(base, "policy@helpful=0.7,brief=0.3") == after


def test_another_base_is_not_served(adapters, untied_base, caplog, monkeypatch):
    assert adapters.find(str(untied_base), "policy@helpful=1") is None
    assert "is not the base model of bundle" in caplog.text

    def again(*arguments):
        raise AssertionError("all files read once more for every request")

    monkeypatch.setattr("moalign.serving.vllm.bundles.OpenBundle.open", again)
    assert adapters.find(str(untied_base), "policy@helpful=1") is None


def test_a_broken_bundle_is_an_error_that_shows_no_paths(adapters, bundle, base, caplog):
    (bundle / "brief" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(Unavailable) as error:
        adapters.find(base, "policy@helpful=1")
    assert str(bundle) not in str(error.value)
    assert "was altered after the bundle was saved" in caplog.text


def test_a_full_cache_is_an_error_and_the_log_says_what_to_raise(settings, base, caplog):
    adapters = BundleAdapters(dataclasses.replace(settings, max_adapters=1))
    adapters.find(base, "policy@helpful=1")
    with pytest.raises(Unavailable, match="the server's log says why"):
        adapters.find(base, "policy@brief=1")
    assert "raise MOALIGN_VLLM_CACHE_ADAPTERS" in caplog.text
    assert adapters.find(base, "policy@helpful=1").folder.is_dir()


def test_the_log_says_what_became_of_a_name(adapters, base, caplog):
    with caplog.at_level(logging.INFO, "vllm.moalign"):
        adapters.find(base, "policy@helpful=0.68,brief=0.32")
    assert "is policy@helpful=0.7,brief=0.3,warm=0.0, written in" in caplog.text


NAMES = ["helpful", "brief", "warm", "safe"]


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda w: math.fsum(w) > 1e-3), st.integers(1, 12))
def test_snapping_finds_the_nearest_point(raw, partitions):
    asked = Preference(dict(zip(NAMES, raw, strict=True)), normalize=True)
    found = np.array(snap_weights(asked, NAMES, partitions))
    lattice = weight_lattice(4, partitions)
    target = np.array([asked.values[name] for name in NAMES])
    nearest = np.linalg.norm(lattice - target, axis=1).min()
    assert np.linalg.norm(lattice - found, axis=1).min() < 1e-12  # a point of the lattice
    assert np.linalg.norm(found - target) == pytest.approx(nearest, abs=1e-7)


@pytest.mark.parametrize("partitions", [1, 3, 7, 20, 100])
def test_points_of_the_lattice_stay(partitions):
    for row in weight_lattice(3, partitions)[:500]:
        asked = Preference(dict(zip(NAMES, row.tolist(), strict=False)))
        assert snap_weights(asked, NAMES[:3], partitions) == pytest.approx(row.tolist(), abs=1e-15)


def test_ties_favour_earlier_objectives():
    uniform = Preference.parse("helpful=0.5,brief=0.5")
    assert snap_weights(uniform, ["helpful", "brief"], 1) == [1.0, 0.0]
    assert snap_weights(uniform, ["brief", "helpful"], 1) == [1.0, 0.0]
