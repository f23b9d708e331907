import itertools
import math
import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from frontier.errors import InputError
from moalign.demo import world
from moalign.demo.true_reward import OBJECTIVES, TrueReward, score_reply
from moalign.demo.world import (
    Situation,
    draw_replies,
    draw_reply,
    draw_reply_pairs,
    parse_prompt,
    parse_reply,
    split_prompts,
)
from reward_heads.vector_reward import VectorReward

PROMPT = "Customer: Hi, this is Anna. My blue lamp arrived broken on Monday. What can I do?\nReply:"
SITUATION = Situation("broken", "lamp", "blue", "Anna")


def score(completion, prompt=PROMPT):
    return dict(zip(OBJECTIVES, score_reply(prompt, completion), strict=True))


# --- the grammar ---


def test_every_prompt_is_read_back():
    for kind, problem in world.PROBLEMS.items():
        for opening, statement, question in itertools.product(world.OPENINGS, problem.statements, world.QUESTIONS):
            message = f"{opening} {statement} {question}".format(
                name="Zoe", colour="grey", item=problem.items[-1], day="Friday"
            )
            prompt = f"Customer: {message}\nReply:"
            assert parse_prompt(prompt) == Situation(kind, problem.items[-1], "grey", "Zoe")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        "Customer: Hello.\nReply:",
        PROMPT + " We",
        PROMPT.replace("blue ", ""),
        PROMPT.replace("Anna", "Xaver"),
    ],
)
def test_other_prompts_are_not_the_worlds(text):
    assert parse_prompt(text) is None


def test_no_sentence_uses_a_slots_word_by_itself():
    slots = set(world.NAMES + world.COLOURS + world.ITEMS + world.DAYS)
    wordings = [wording for fact in world.FACTS.values() for wording in fact]
    statements = [statement for problem in world.PROBLEMS.values() for statement in problem.statements]
    for template in [*wordings, *statements, *world.WARM, *world.FILLERS, *world.OPENINGS, *world.QUESTIONS]:
        assert not slots & set(re.findall(r"[A-Za-z]+", template)), template


def test_every_sentence_is_distinct_and_short():
    wordings = [wording for fact in world.FACTS.values() for wording in fact]
    templates = [*wordings, *world.WARM, *world.FILLERS]
    assert len(set(templates)) == len(templates)
    for template in templates:
        tokens = re.findall(r"[A-Za-z]+|[^\sA-Za-z{}]", template)
        # Five sentences and the end mark then fit into 40 new tokens.
        assert len(tokens) <= 7, template


def test_every_fact_helps_somewhere_and_exists():
    used = [fact for problem in world.PROBLEMS.values() for fact in problem.facts]
    assert set(used) == set(world.FACTS)
    assert all(len(set(problem.facts)) == 6 for problem in world.PROBLEMS.values())


def test_style_and_length_probabilities_sum_to_one():
    assert sum(style.probability for style in world.STYLES) == pytest.approx(1)
    assert sum(world.SENTENCES.values()) == pytest.approx(1)
    for style in world.STYLES:
        assert style.fact + style.warm + style.filler + style.wrong == pytest.approx(1)


def test_split_is_disjoint_distinct_and_the_same_for_a_seed():
    train, held_out = split_prompts(500, 100, seed=4)
    assert (len(train), len(held_out)) == (500, 100)
    assert len(set(train) | set(held_out)) == 600
    assert split_prompts(500, 100, seed=4) == (train, held_out)
    assert split_prompts(500, 100, seed=5) != (train, held_out)
    # More training prompts must not move prompts from one list to the other.
    assert split_prompts(900, 100, seed=4)[1] == held_out


def test_split_refuses_more_than_there_is():
    with pytest.raises(InputError, match="0 to 100000 prompts"):
        split_prompts(100_000, 1, seed=0)


def test_replies_are_well_formed_and_fit():
    rng = random.Random(0)
    for _ in range(500):
        reply = draw_reply(SITUATION, rng)
        sentences = parse_reply(reply)
        assert reply == "".join(" " + sentence.text for sentence in sentences)
        assert 1 <= len(sentences) <= 5
        assert all(sentence.kind != "malformed" and SITUATION.matches(sentence.slots) for sentence in sentences)
        assert len({sentence.meaning for sentence in sentences}) == len(sentences)


def test_pairs_differ_and_are_the_same_for_a_seed():
    prompts, _ = split_prompts(20, 0, seed=0)
    drawn = draw_reply_pairs(prompts, 400, seed=7)
    assert drawn == draw_reply_pairs(prompts, 400, seed=7)
    assert all(a != b for _, a, b in zip(*drawn, strict=True))
    assert drawn[0][:20] == prompts


def test_replies_need_a_prompt_of_the_world():
    with pytest.raises(InputError, match="no reply for 'Hello'"):
        draw_replies(["Hello"], 1, seed=0)


# --- the probability of a reply ---


def test_probability_by_hand():
    # One filler of eight: 0.2 * (0.85 * 0.14 + 0.15 * 0.64) / 8
    expected = math.log(0.2 * (0.85 * 0.14 + 0.15 * 0.64) / 8)
    assert world.reply_log_probability(PROMPT, " Noted.") == pytest.approx(expected)


def test_probabilities_of_all_one_sentence_replies_sum_to_the_chance_of_one_sentence():
    wordings = [wording for fact in world.FACTS.values() for wording in fact]
    total = sum(
        math.exp(world.reply_log_probability(PROMPT, " " + SITUATION.fill(template)))
        for template in [*wordings, *world.WARM, *world.FILLERS]
    )
    assert total == pytest.approx(world.SENTENCES[1])


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " Noted",
        "Noted.",
        " Noted. Noted.",
        " We will send a new kettle.",
        " Take good care, Ben!",
        " Blue lamp lamp.",
    ],
)
def test_replies_that_never_happen(reply):
    assert world.reply_log_probability(PROMPT, reply) == -math.inf


def test_every_drawn_reply_has_a_probability():
    prompts, _ = split_prompts(50, 0, seed=1)
    logs = [world.reply_log_probability(prompt, reply) for prompt, reply in draw_replies(prompts, 10, seed=1)]
    assert np.isfinite(logs).all()
    assert (
        10 < -np.mean(logs) < 15
    )  # the entropy of a reply in nats: wide, so that steering has something to choose from


# --- the true rewards ---


def test_rewards_by_hand():
    got = score(" We will send a new lamp. Please keep the lamp box. I am so sorry about that. Have a lovely day!")
    assert got["helpful"] == pytest.approx(1 - math.exp(-1))
    assert got["warm"] == pytest.approx(1 - math.exp(-1))
    assert got["brief"] == pytest.approx(-2.1)


def test_facts_count_once_and_only_for_this_problem_item_and_customer():
    one = 1 - math.exp(-0.5)
    assert score(" We will send a new lamp.")["helpful"] == pytest.approx(one)
    assert score(" We will send a new lamp. A new lamp ships today.")["helpful"] == pytest.approx(one - 0.25)
    assert score(" We will send a new kettle.")["helpful"] == pytest.approx(-0.25)
    assert score(" Refunds take five days.")["helpful"] == pytest.approx(-0.25)
    assert score(" Noted.")["helpful"] == 0


def test_warm_sentences_count_once_and_only_for_this_customer():
    one = 1 - math.exp(-0.5)
    assert score(" Take good care, Anna!")["warm"] == pytest.approx(one)
    assert score(" Take good care, Anna! Take good care, Anna!")["warm"] == pytest.approx(one)
    assert score(" Take good care, Ben!")["warm"] == 0
    assert score(" Noted.")["warm"] == 0


def test_silence_and_gibberish_are_no_answers():
    longest = " " + " ".join(["We will send a new lamp."] * 5)
    for nothing in ("", "   ", " We", " lamp lamp lamp"):
        assert score(nothing)["brief"] == -4.0 < score(longest)["brief"]


def test_a_reply_cut_off_pays_for_its_fragment():
    assert score(" We will send a new lamp. Please keep")["helpful"] < score(" We will send a new lamp.")["helpful"]


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=200)
def test_gibberish_earns_nothing(text):
    got = score(text)
    assert -1 <= got["helpful"] <= 0
    assert got["warm"] == 0
    assert got["brief"] <= -0.2


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=100)
def test_shuffled_words_earn_nothing(seed):
    rng = random.Random(seed)
    words = [word for sentence in (*world.WARM, "We will send a new lamp.") for word in sentence[:-1].split()]
    rng.shuffle(words)
    got = score(" " + " ".join(words[:12]) + ".")
    assert got["helpful"] < 0
    assert got["warm"] == 0


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=100)
def test_order_of_sentences_is_indifferent(seed):
    rng = random.Random(seed)
    pieces = world.split_sentences(draw_reply(SITUATION, rng))
    before = score(" " + " ".join(pieces))
    rng.shuffle(pieces)
    assert score(" " + " ".join(pieces)) == pytest.approx(before)


def test_score_gives_one_row_per_reply():
    scores = TrueReward().score([PROMPT, PROMPT, "Hello"], [" Noted.", " Have a lovely day!", " Noted."])
    assert scores.dtype == torch.float32
    assert scores.shape == (3, 3)
    assert TrueReward.objectives == ("helpful", "warm", "brief")
    # Nobody knows what would help with a message that is not the world's; the rest is known.
    assert torch.equal(scores.isnan(), torch.tensor([[False] * 3, [False] * 3, [True, False, False]]))
    assert TrueReward().score([], []).shape == (0, 3)
    assert isinstance(TrueReward(), VectorReward)


def test_chats_score_as_the_prompts_that_they_are_written_as():
    message = PROMPT.removeprefix("Customer: ").removesuffix("\nReply:")
    chat = [{"role": "user", "content": "Old."}, {"role": "assistant", "content": "Noted."}]
    chat.append({"role": "user", "content": message})
    answer = [{"role": "assistant", "content": "We will send a new lamp."}]
    scores = TrueReward().score([chat, PROMPT, chat[1:2]], [answer, " We will send a new lamp.", answer])
    assert torch.equal(scores[0], scores[1])
    assert scores[2, 0].isnan()


def test_score_refuses_lists_of_different_lengths():
    with pytest.raises(InputError, match="found 1 prompts and 2 completions"):
        TrueReward().score([PROMPT], ["", ""])


# --- what the world is for ---


def lattice(partitions):
    steps = range(partitions + 1)
    return np.array([(a, b, partitions - a - b) for a in steps for b in range(partitions + 1 - a)]) / partitions


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("partitions", [5, 6])
def test_the_best_policy_answers_every_weight(beta, partitions):
    """Reweighting the world's replies by exp(w·r/β) is the best policy at w; its mean rewards must follow the weights."""
    per_prompt = 300
    prompts, _ = split_prompts(60, 0, seed=2)
    drawn = draw_replies(prompts, per_prompt, seed=2)
    rewards = TrueReward().score(*map(list, zip(*drawn, strict=True))).double().numpy()
    rewards = ((rewards - rewards.mean(0)) / rewards.std(0)).reshape(len(prompts), per_prompt, 3)
    weights = lattice(partitions)
    logits = np.einsum("pnk,lk->lpn", rewards, weights) / beta
    tilted = np.exp(logits - logits.max(-1, keepdims=True))
    tilted /= tilted.sum(-1, keepdims=True)
    means = np.einsum("lpn,pnk->lk", tilted, rewards) / len(prompts)
    # Equal weights are ties, which keep even a perfect answer below 1 (0.977 and 0.983).
    for k, objective in enumerate(OBJECTIVES):
        assert spearmanr(weights[:, k], means[:, k]).statistic >= 0.95, objective
        assert means[:, k].max() - means[:, k].min() > 1.0, objective
