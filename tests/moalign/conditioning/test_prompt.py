import pytest
import torch
from peft import LoraConfig
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.conditioning.base import conditioning_from_json
from moalign.conditioning.prompt import PromptConditioning
from moalign.oracle import OracleWorld
from moalign.policy import SteerablePolicy

NAMES = ("helpfulness", "verbosity")
DIRECTION = torch.tensor([[0.8, -0.6]])
# The system turn of the paper's model card, with v = (0.8, -0.6).
PUBLISHED = (
    "You are a helpful, respectful, and honest assistant who always responds to the user in a harmless way. "
    "Your response should maximize weighted rating = helpfulness*80 + verbosity*-60"
)


@pytest.fixture(scope="module")
def policy():
    """A prompt-conditioned policy whose adapter does something, over a model that reads names and numbers."""
    world = OracleWorld.covered(vocabulary=3, length=3, prompts=2, objectives=("a", "b"), hidden=16, layers=1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    model = add_adapters(world.model(), {"policy": config})
    return SteerablePolicy(model.eval(), world.tokenizer, ("a", "b"), conditioning=PromptConditioning(("a", "b")))


def test_dpa_says_the_published_sentence():
    assert PromptConditioning(NAMES, "dpa").prompts(["Hi!"], DIRECTION) == [f"{PUBLISHED}\nHi!"]


def test_plain_is_short():
    assert PromptConditioning(NAMES).prompts(["Hi!"], DIRECTION) == ["helpfulness=80 verbosity=-60\nHi!"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.7, 0.3], "helpfulness=70 verbosity=30"),  # 0.7 is 0.699999988 in float32
        ([1.0, 0.0], "helpfulness=100 verbosity=0"),
        ([1.0, -0.001], "helpfulness=100 verbosity=0"),  # no "-0"
        ([0.996, 0.004], "helpfulness=100 verbosity=0"),
    ],
)
def test_per_cent_without_decimals(weights, said):
    assert PromptConditioning(NAMES).prompts(["x"], torch.tensor([weights])) == [f"{said}\nx"]


def test_a_conversation_carries_it_in_the_system_turn():
    conditioning = PromptConditioning(NAMES)
    said = "helpfulness=80 verbosity=-60"
    user = {"role": "user", "content": "Hi!"}
    system = {"role": "system", "content": "Be kind."}
    plain, with_system = [user], [system, user]
    got = conditioning.prompts([plain, with_system], DIRECTION)
    assert got == [
        [{"role": "system", "content": said}, user],
        [{"role": "system", "content": f"{said}\nBe kind."}, user],
    ]
    assert plain == [user]  # the caller's are left as they were
    assert system["content"] == "Be kind."


def test_each_row_is_told_its_own_and_a_zero_row_nothing():
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, -1.0]])
    got = PromptConditioning(NAMES).prompts(["x", "y", "z"], weights)
    assert got == ["helpfulness=100 verbosity=0\nx", "y", "helpfulness=0 verbosity=-100\nz"]


def test_the_adapter_counts_in_full_at_any_preference_and_not_in_the_reference():
    mixing = PromptConditioning(NAMES).mixing(torch.tensor([[0.3, 0.7], [0.8, -0.8], [0.0, 0.0]]))
    assert_close(mixing, torch.tensor([[1.0], [1.0], [0.0]]))


def test_a_bundle_names_it():
    written = PromptConditioning(NAMES, "dpa").to_json()
    assert written == {"kind": "prompt", "adapters": ["policy"], "style": "dpa"}
    read = conditioning_from_json(written, NAMES)
    assert isinstance(read, PromptConditioning)
    assert read.style == "dpa"
    assert read.to_json() == written


def test_unknown_styles_are_refused():
    with pytest.raises(InputError, match="unknown prompt style 'dpo': did you mean 'dpa'"):
        PromptConditioning(NAMES, "dpo")


def test_the_policy_reads_the_sentence_and_the_reference_does_not(policy):
    """A batch of preferences gives what the model gives for each prompt with the sentence typed in front."""
    got = policy.log_probs(["Prompt 2:"] * 3, [" a1 c2 b3"] * 3, ["a=1.0", "direction:a=0.6,b=-0.8", None])
    answer = [*policy.tokenizer(" a1 c2 b3")["input_ids"], policy.tokenizer.eos_token_id]
    by_hand = []
    for told, steered in [("a=100 b=0\nPrompt 2:", 1.0), ("a=60 b=-80\nPrompt 2:", 1.0), ("Prompt 2:", 0.0)]:
        with torch.no_grad(), policy.mixture.steer(torch.tensor([steered])):
            by_hand.append(float(_log_prob(policy.model, policy.tokenizer(told)["input_ids"], answer)))
    assert_close(got, torch.tensor(by_hand), atol=1e-4, rtol=1e-5)
    assert len({round(value, 3) for value in by_hand}) == 3


def _log_prob(model, prompt, answer):
    logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum()


def test_export_says_why_no_weights_stand_for_a_preference(policy, tmp_path):
    with pytest.raises(InputError, match="reads its preference in the prompt"):
        policy.export("a=1.0", tmp_path / "lora")
    with pytest.raises(InputError, match="strength scales mixed weights"):
        policy.weights("a=1.0", 1, strength=0.5)
