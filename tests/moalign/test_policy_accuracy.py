import json
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.policy_accuracy import accuracy_of, demonstrate, policy_accuracy
from reward_heads import FunctionReward
from reward_heads.examples import read_examples


@pytest.fixture(scope="module")
def policy(tiny_base, plain_adapters):
    return SteerablePolicy.from_pretrained(tiny_base, adapters=plain_adapters)


PAIRS = [("a b", " c d", " e"), ("good day ?", " yes", " no no"), ("x", " y z .", " a b"), ("d e", " f", " g h i j")]
PREFERENCES = {"ann": "helpful=1.0", "bob": "brief=1.0", "cy": {"helpful": 0.5, "warm": 0.5}}


def pair(prompt, a, b, label, user, name="liked"):
    return {"prompt": prompt, "completion_a": a, "completion_b": b, "labels": {name: label}, "user": user}


def rows_as_the_policy_ranks(policy, told=False):
    """Every user's labels are what the policy at the user's preference says."""
    rows = []
    for user, preference in PREFERENCES.items():
        for prompt, a, b in PAIRS:
            margins = [
                policy.log_probs([prompt], [text], preference) - policy.log_probs([prompt], [text], None)
                for text in (a, b)
            ]
            rows.append(pair(prompt, a, b, float(margins[0] > margins[1]), user))
    return rows


def test_a_policy_that_was_made_for_its_users_is_always_right(policy):
    rows = rows_as_the_policy_ranks(policy)
    found = policy_accuracy(policy, rows, PREFERENCES, batch_size=3)
    assert found.policy.accuracy == 1.0
    assert found.policy.interval == (1.0, 1.0)
    assert found.policy.n == 12
    assert found.policy.by_user == dict.fromkeys(PREFERENCES, (1.0, 4))
    contrary = [row | {"labels": {"liked": 1 - row["labels"]["liked"]}} for row in rows]
    assert policy_accuracy(policy, contrary, PREFERENCES.get).policy.accuracy == 0.0
    # Somebody else's preference is not as good.
    others = dict(zip(PREFERENCES, [*list(PREFERENCES.values())[1:], "helpful=1.0"], strict=True))
    assert policy_accuracy(policy, rows, others).policy.accuracy < 1.0


@pytest.mark.parametrize(
    ("score", "per_token"), [("implicit", False), ("implicit", True), ("log_prob", False), ("log_prob", True)]
)
def test_margins_are_log_probs_of_whole_completions(policy, score, per_token):
    rows = rows_as_the_policy_ranks(policy)
    found = policy_accuracy(policy, rows, PREFERENCES, score=score, per_token=per_token, batch_size=5)

    def value(row, side, preference):
        count = len(row[side].split()) + 1 if per_token else 1  # a token per word, and the end
        return policy.log_probs([row["prompt"]], [row[side]], preference).item() / count

    for row, margin, reference in zip(rows, found.policy.margins, found.reference.margins, strict=True):
        own, base = (
            value(row, "completion_a", p) - value(row, "completion_b", p) for p in (PREFERENCES[row["user"]], None)
        )
        assert margin.item() == pytest.approx(own - base if score == "implicit" else own, abs=2e-4)
        assert reference.item() == pytest.approx(base, abs=2e-4)


def test_the_reward_is_mixed_by_the_same_preferences(policy):
    count = FunctionReward(
        {name: lambda p, c, n=name: float(c.split().count(n[0])) for name in ("warm", "helpful", "brief")}
    )
    rows = [pair("x", " h", " b", 1.0, "ann"), pair("x", " h", " b", 1.0, "bob"), pair("x", " h", " b", 0.5, "bob")]
    found = policy_accuracy(policy, rows, PREFERENCES, reward=count)
    assert found.reward.by_user == {"ann": (1.0, 1), "bob": (0.0, 1)}  # the tie is left out
    assert found.reward.accuracy == 0.5
    own = policy_accuracy(policy, rows, PREFERENCES, reward=lambda some: torch.zeros(len(some)))
    assert own.reward.accuracy == 0.5  # equal scores count half
    assert json.loads(json.dumps(own.to_json(), allow_nan=False))["reward"]["n"] == 2
    assert "policy" in own.table()
    assert own.in_context is None


def test_in_context_is_the_base_after_what_the_user_preferred(policy):
    shown = [pair("a", " b", " c", 1.0, "ann"), pair("d", " e", " f", 0.0, "ann"), pair("g", " h", " i", 1.0, "bob")]
    rows = [pair("x", " y", " z", 1.0, "ann"), pair("x", " y", " z", 1.0, "cy")]
    found = policy_accuracy(policy, rows, PREFERENCES, demonstrations=shown)
    assert found.demonstrations == {"ann": 2, "cy": 0}
    told = ["a b\n\nd f\n\nx", "x"]
    for margin, prompt in zip(found.in_context.margins, told, strict=True):
        y, z = (policy.log_probs([prompt], [text], None) for text in (" y", " z"))
        assert margin.item() == pytest.approx((y - z).item(), abs=1e-4)
    last = policy_accuracy(policy, rows, PREFERENCES, demonstrations=shown, max_demonstrations=1)
    assert last.demonstrations == {"ann": 1, "cy": 0}
    room = len(policy.encode(["d f\n\nx"])[0]) + 2  # " y" and the end
    short = policy_accuracy(policy, rows, PREFERENCES, demonstrations=shown, max_length=room)
    assert_close(short.in_context.margins, last.in_context.margins)
    with pytest.raises(InputError, match="pair 0 of user 'ann' is one of those to be ranked"):
        policy_accuracy(policy, rows, PREFERENCES, demonstrations=[pair("x", " z", " y", 0.0, "ann")])


def chat(text, role="user"):
    return [{"role": role, "content": text}]


def test_conversations(policy):
    rows = [pair(chat("a b"), chat(" c", "assistant"), chat(" d e", "assistant"), 1.0, "ann")]
    shown = [pair(chat("f"), chat("g", "assistant"), chat("h", "assistant"), 0.0, "ann")]
    found = policy_accuracy(policy, rows, PREFERENCES, demonstrations=shown)
    assert found.policy.n == 1
    assert math.isnan(found.policy.interval[0])
    assert found.to_json()["policy"]["interval"] == [None, None]
    assert found.in_context.margins.isfinite().all()
    assert found.in_context.margins[0] != found.reference.margins[0]


def test_demonstrations_are_turns_after_the_system_message():
    row = pair(chat("f"), chat("g", "assistant"), chat("h", "assistant"), 0.0, "ann")
    example = read_examples([row], ("liked",))
    prompt = [*chat("Be kind.", "system"), *chat("a")]
    assert demonstrate(example, prompt) == [prompt[0], *chat("f"), *chat("h", "assistant"), prompt[1]]


def test_accuracy_by_hand():
    users = ["u"] * 3 + ["v"]
    found = accuracy_of(torch.tensor([1.0, -2.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 0.2]), users)
    assert found.accuracy == pytest.approx(1.5 / 4)  # right, wrong, equal, wrong
    assert found.by_user == {"u": (0.5, 3), "v": (0.0, 1)}
    assert found.interval == (0.0, 0.5)  # two users: both ends are one of them drawn twice
    again = accuracy_of(torch.tensor([1.0, -2.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 0.2]), users)
    assert again.interval == found.interval


def test_refuses(policy):
    row = pair("x", " y", " z", 1.0, "ann")
    for rows, settings, message in (
        ([row], {"score": "implict"}, "did you mean 'implicit'"),
        ([row | {"user": "ann2"}], {}, "unknown user in preference_of_user 'ann2': did you mean 'ann'"),
        ([row | {"user": None}], {}, "row 0: has no user"),
        ([row | {"labels": {"liked": 0.5}}], {}, "no labelled pair has a winner"),
        ([row | {"labels": {"liked": 1.0, "kind": 0.0}}], {}, "labelled for liked, kind"),
        ([row], {"objective": "kind"}, "no row is labelled for 'kind'"),
        ([row], {"reward": lambda some: torch.tensor([torch.nan])}, "row 0: its margin is not finite"),
        ([row], {"reward": lambda some: torch.zeros(3)}, "one margin and one label for each of 1 pairs"),
        ([row], {"reward": FunctionReward({"helpful": lambda p, c: 0.0})}, "unknown objective of the reward 'brief'"),
        ([{"prompt": "x", "completion": "y", "scores": {"liked": 1.0}, "user": "ann"}], {}, "is a rating"),
    ):
        with pytest.raises(InputError, match=message):
            policy_accuracy(policy, rows, PREFERENCES, **settings)


@pytest.mark.parametrize("turned", [0, 1, 2])
def test_texts_beside_conversations_are_their_messages(policy, turned):
    whole = (chat("a b"), chat(" c", "assistant"), chat(" d e", "assistant"))
    mixed = tuple(text[0]["content"] if (at == 0) == (turned == 0) else text for at, text in enumerate(whole))
    if turned == 2:
        mixed = (whole[0], whole[1], " d e")
    found, expected = (
        policy_accuracy(policy, [pair(*texts, 1.0, 7)], {7: "helpful=1.0"}).policy.margins for texts in (mixed, whole)
    )
    assert_close(found, expected)
