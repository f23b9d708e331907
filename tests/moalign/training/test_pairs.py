import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.policy import SteerablePolicy
from moalign.training.pairs import (
    PairTable,
    canonical,
    collate,
    completion_log_probs,
    labelled_objectives,
    tokenize_pairs,
)
from reward_heads import FunctionReward

ROWS = [
    {"prompt": "a b", "completion_a": " c d e", "completion_b": " f", "labels": {"helpful": 1.0, "brief": 0.25}},
    {"prompt": "g", "completion_a": " h", "completion_b": " i j </s>", "labels": {"helpful": None, "brief": 0.0}},
    {"prompt": "k l m n", "completion_a": " o", "completion_b": " p q", "labels": {"helpful": 0.5, "brief": None}},
]
NAMES = ("helpful", "brief")


def conversation(row):
    def said(role, text):
        return [{"role": role, "content": text.strip().removesuffix(" </s>")}]

    answers = {name: said("assistant", row[name]) for name in ("completion_a", "completion_b")}
    return {**row, "prompt": said("user", row["prompt"]), **answers}


@pytest.fixture
def policy(tiny_base):
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = add_adapters(AutoModelForCausalLM.from_pretrained(tiny_base), dict.fromkeys(NAMES, lora))
    return SteerablePolicy(model, AutoTokenizer.from_pretrained(tiny_base, padding_side="left"), NAMES)


@pytest.mark.parametrize("style", ["texts", "conversations"])
def test_tokens_are_trl_s(policy, tiny_base, tmp_path, style):
    rows = [conversation(row) if style == "conversations" else row for row in ROWS]
    trl_rows = [{"prompt": r["prompt"], "chosen": r["completion_a"], "rejected": r["completion_b"]} for r in rows]
    args = DPOConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    theirs = DPOTrainer(model, args=args, train_dataset=Dataset.from_list(trl_rows), processing_class=policy.tokenizer)
    columns = [[row[name] for row in rows] for name in ("prompt", "completion_a", "completion_b")]
    for ids, expected in zip(tokenize_pairs(policy, *columns), theirs.train_dataset, strict=True):
        assert (ids.prompt, ids.a, ids.b) == (expected["prompt_ids"], expected["chosen_ids"], expected["rejected_ids"])
        assert ids.a[-1] == policy.tokenizer.eos_token_id or style == "conversations"


def test_a_prompt_that_melts_into_the_completion_is_cut(policy):
    (ids,) = tokenize_pairs(policy, ["a b"], ["c"], [" c"])  # word level: "bc" is one unknown word
    assert ids.cut == 1
    assert ids.prompt == policy.encode(["a"])[0]
    assert len(ids.a) == 2
    assert len(ids.b) == 3


def test_sequences_are_cut_at_their_end_and_full_prompts_left_out(policy, caplog):
    table = PairTable(Dataset.from_list(ROWS), NAMES, policy, max_length=4, progress=False)
    assert [ids.prompt for ids in table.ids] == policy.encode(["a b", "g"])
    assert [(len(ids.a), len(ids.b)) for ids in table.ids] == [(2, 2), (2, 3)]
    assert "1 of 3 pairs are left out" in caplog.text
    with pytest.raises(InputError, match="none of the 3 pairs can be trained on"):
        PairTable(Dataset.from_list(ROWS), NAMES, policy, max_length=1, progress=False)


def test_the_table_holds_labels_reference_and_differences(policy):
    table = PairTable(Dataset.from_list(ROWS), ("brief", "helpful"), policy, progress=False)
    nan = torch.nan
    assert_close(table.labels, torch.tensor([[0.25, 1.0], [0.0, nan], [nan, 0.5]]), equal_nan=True)
    table.score_reference(policy, batch_size=2, progress=False)
    expected = [
        policy.log_probs([r["prompt"]], [r[side].removesuffix(" </s>")], None).item()
        for r in ROWS
        for side in ("completion_a", "completion_b")
    ]
    assert_close(table.reference.flatten(), torch.tensor(expected), atol=1e-5, rtol=0)
    reward = FunctionReward({"helpful": lambda p, c: None if p == "g" else float(len(c.split()) + len(p))})
    table.score_rewards(reward, batch_size=2, progress=False)
    assert_close(table.differences, torch.tensor([[nan, 2.0], [nan, nan], [nan, -1.0]]), equal_nan=True)
    batch = collate([table[0], table[2]])
    assert next(iter(batch)) == "preferred"
    assert batch["prompt"] == ["a b", "k l m n"]
    assert_close(batch["reference"], table.reference[[0, 2]])


def test_infinite_rewards_are_refused_by_objective_and_row(policy):
    table = PairTable(Dataset.from_list(ROWS), NAMES, policy, progress=False)
    reward = FunctionReward({"helpful": lambda p, c: 1.0, "brief": lambda p, c: float("inf") if " p" in c else 0.0})
    with pytest.raises(InputError, match=r"'brief'.*(infinite|inf)") as error:
        table.score_rewards(reward, batch_size=1, progress=False)
    assert "2" in str(error.value) or "row 1" in str(error.value)


def test_steered_log_probs_are_the_policy_s(policy):
    weights = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 0.0]])
    prompts, texts = [r["prompt"] for r in ROWS], [r["completion_a"] for r in ROWS]
    ids = tokenize_pairs(policy, prompts, texts, texts)
    with torch.no_grad():
        got = completion_log_probs(policy.model, policy, [i.prompt for i in ids], [i.a for i in ids], weights)
    for row, (prompt, text, preference) in enumerate(
        zip(prompts, texts, ["helpful=1.0", "helpful=0.3,brief=0.7", None], strict=True)
    ):
        assert_close(got[row], policy.log_probs([prompt], [text], preference)[0], atol=1e-5, rtol=0)


def test_trl_rows_are_read_and_empty_ones_refused():
    rows = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    pairs = canonical(rows, ("helpful",))
    assert pairs[0]["labels"] == {"helpful": 1.0}
    assert labelled_objectives(pairs) == ("helpful",)
    assert labelled_objectives(Dataset.from_list(ROWS[2:])) == ("helpful",)
    with pytest.raises(InputError, match="'objective': missing"):
        canonical(rows, NAMES)
    with pytest.raises(InputError, match="no pairs"):
        canonical(Dataset.from_list(ROWS).select([]))


def test_texts_and_conversations_may_share_a_batch(policy):
    plain, chat = ROWS[0], conversation(ROWS[2])
    rows = [chat, plain, chat]
    columns = [[row[name] for row in rows] for name in ("prompt", "completion_a", "completion_b")]
    mixed = tokenize_pairs(policy, *columns)
    for i, ids in enumerate(mixed):
        assert [ids] == tokenize_pairs(policy, *([column[i]] for column in columns))


def test_every_process_runs_as_many_forwards_as_any_other(policy, monkeypatch):
    """Else those that hold a part of the weights each would wait for one that has nothing to score."""
    alone = PairTable(Dataset.from_list(ROWS[:1]), NAMES, policy, progress=False)
    alone.score_reference(policy, batch_size=2, progress=False)
    table = PairTable(Dataset.from_list(ROWS[:1]), NAMES, policy, progress=False)
    state = type("State", (), {"num_processes": 4, "process_index": 3})
    monkeypatch.setattr("moalign.training.pairs.PartialState", state)
    table.score_reference(policy, batch_size=2, progress=False)
    assert_close(table.reference, alone.reference)
