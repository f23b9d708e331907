from frontier.realize.merging.card import model_card
from frontier.realize.merging.methods import METHODS


def test_the_card_says_what_was_merged():
    text = "merge_method: ties\nmodels: [...]"
    card = model_card(METHODS["ties"], text, {"org/one@v2": "abc", "base+lora": "def"}, 3, ["a note"])
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "base_model:\n- org/one\n---" in card
    assert f"```yaml\n{text}\n```" in card
    assert "https://huggingface.co/papers/2306.01708" in card
    assert "| org/one@v2 | `abc` |" in card
    assert "| base+lora | `def` |" in card
    assert "- a note" in card
    assert "Seed" not in card


def test_a_random_method_names_its_seed_and_local_folders_are_no_hub_models(tmp_path):
    card = model_card(METHODS["dare_linear"], "x", {str(tmp_path): "abc"}, 3, [])
    assert "Seed: 3." in card
    assert "base_model:" not in card
    assert "Notes" not in card
