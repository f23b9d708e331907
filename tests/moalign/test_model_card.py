import re

import pytest
import yaml

from frontier.front import FrontPoint, ParetoFront
from moalign.bundle import BaseModel, Manifest
from moalign.model_card import model_card
from moalign.preference import Preference


def manifest(objectives=("helpful", "brief"), **changes):
    return Manifest(objectives=tuple(objectives), base=BaseModel("../base", "d1"), **changes)


def section(card, title):
    return card.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_metadata_block_is_yaml_that_hubs_read():
    block = re.match(r"---\n(.*?)\n---\n", model_card(manifest()), re.DOTALL)
    metadata = yaml.safe_load(block[1])
    assert "base_model" not in metadata  # a local folder is no repository of a hub
    assert metadata["library_name"] == "moalign"
    assert {"multi-objective", "steerable", "peft", "lora"} <= set(metadata["tags"])


def test_a_base_on_the_hub_is_linked():
    card = model_card(Manifest(objectives=("helpful", "brief"), base=BaseModel("org/model", "d1")))
    assert yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])["base_model"] == "org/model"


def test_names_what_can_be_traded():
    card = model_card(manifest(("helpful", "brief", "warm")))
    assert "**helpful**, **brief**, **warm** (all maximised)" in card
    assert "`../base` + Σ w_k · s_k · B_k · A_k" in card


def test_a_shared_adapter_is_told():
    card = model_card(manifest(conditioning={"kind": "adapter_mixture", "shared": True}))
    assert (
        "`../base` + Σ w_k · (s_k · B_k · A_k + s · B · A): one plain PEFT LoRA per objective in this folder, and one, `shared`,"
        in card
    )


def test_a_prompted_policy_shows_what_it_reads():
    card = model_card(manifest(conditioning={"kind": "prompt", "style": "plain"}))
    assert "reads at the head of its prompt" in card
    assert "In the example below it reads `helpful=90 brief=10`." in card
    assert '"helpful=0.9,brief=0.1"' in card
    assert "one plain PEFT LoRA, the folder `policy`." in card
    assert "per objective" not in card
    assert "weighted rating = helpful*90 + brief*10`" in model_card(
        manifest(conditioning={"kind": "prompt", "style": "dpa"})
    )


def test_an_unconditioned_policy_does_not_claim_to_be_steerable():
    card = model_card(manifest(conditioning={"kind": "none"}))
    assert "it answers alike whatever weights a request" in card
    assert "one plain PEFT LoRA, the folder `policy`." in card
    tags = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])["tags"]
    assert tags == ["moalign", "multi-objective", "peft", "lora"]
    assert "steerable policy" not in card
    assert "every trade-off" not in card


@pytest.mark.parametrize("k", [1, 2, 3, 9, 10, 12])
def test_the_example_is_a_valid_preference(k):
    names = [f"o{i}" for i in range(k)]
    text = re.search(r'generate\(\["Hello!"\], "(.*?)"', model_card(manifest(names)))[1]
    preference = Preference.parse(text, names)  # refuses weights that do not sum to 1
    assert sum(float(part.split("=")[1]) for part in text.split(",")) == pytest.approx(1, abs=1e-12)
    assert preference.as_tensor(names).argmax() == 0


def test_the_example_of_two_by_hand():
    assert '"helpful=0.9,brief=0.1"' in model_card(manifest())


def test_only_what_is_known_has_a_section():
    assert "## " not in model_card(manifest()).replace("# A steerable", "")


def test_training_as_a_table():
    text = section(model_card(manifest(training={"method": "clp", "beta": 0.05})), "Training")
    assert text.strip().splitlines() == ["| setting | value |", "| --- | --- |", "| method | clp |", "| beta | 0.05 |"]


def test_units_of_the_weights_under_their_own_names():
    normalizer = {
        "objectives": ["brief", "helpful"],  # in another order than the policy's
        "location": [-12.34567, 0.5],
        "scale": [2.0, 0.25],
        "n": 8,
        "source": "8 completions of the reference policy",
    }
    text = section(model_card(manifest(normalizer=normalizer)), "What the weights refer to")
    assert "by 8 completions of the reference policy:" in text
    assert "| brief | -12.35 | 2 |" in text
    assert "| helpful | 0.5 | 0.25 |" in text


def test_front_with_its_figures():
    points = [
        FrontPoint((1, 0), (0.1, 0.1), 32, {"weights": {"helpful": 1.0}}, kl=0.5),
        FrontPoint((0, 1), (0.1, 0.1), 16, {"weights": {"brief": 1.0}}, kl=0.5),
        FrontPoint((0.75, 0.5), (0.1, 0.1), 16, {"weights": {"helpful": 0.5, "brief": 0.5}}, kl=0.5),
    ]
    front = ParetoFront(("helpful", "brief"), points, FrontPoint((0, 0), (0.1, 0.1), 16))
    text = section(model_card(manifest(), front), "Measured front")
    # Above (-0.1, -0.1): 0.1 × 1.1 + 0.75 × 0.6 + 0.25 × 0.1, written as the union of three boxes.
    volume = 0.1 * 1.1 + 0.75 * 0.6 + 0.25 * 0.1
    assert f"Hypervolume {volume:.4g} above the reference point (helpful -0.1, brief -0.1)" in text
    assert "EUM 0.875, MIP 0.875, controllability gap 0, 16 prompts a point." in text
    assert f"```\n{front.table()}\n```" in text
