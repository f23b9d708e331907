import doctest
import math
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign import preference_gate
from moalign.preference import Preference
from moalign.preference_gate import PreferenceGate, rounded_weights
from reward_heads import Normalizer
from reward_heads.gating import Gate, GateConfig
from reward_heads.gating.network import GateNetwork
from reward_heads.text import plain_text


class Letters:
    """Embeds a prompt as how many a's it has; counts the calls."""

    width = 1
    fingerprint = "l" * 64

    def __init__(self):
        self.embedded = []

    def embed_prompts(self, prompts):
        self.embedded += prompts
        return torch.tensor([[float(plain_text(prompt).count("a"))] for prompt in prompts])


def make_gate(objectives=("helpful", "brief"), embedder=None):
    """Log-odds of the first objective: how many a's."""
    network = GateNetwork(1, len(objectives), GateConfig(hidden=(), temperature=1.0))
    with torch.no_grad():
        network.output.weight.zero_()[0] = 1.0
        network.output.bias.zero_()
    return Gate(network, objectives, embedder=Letters() if embedder is None else embedder)


def test_weights_by_hand_in_the_policys_order():
    source = PreferenceGate(make_gate(), ["brief", "helpful"])
    # σ(0) = 0.5; σ(2) = 0.8808, rounded to thousandths.
    chosen = source.preferences(["b", "aa", [{"role": "user", "content": "aa"}]])
    assert chosen == [
        Preference({"helpful": 0.5, "brief": 0.5}),
        Preference({"helpful": 0.881, "brief": 0.119}),
        Preference({"helpful": 0.881, "brief": 0.119}),
    ]
    assert chosen[0].objectives == ("brief", "helpful")


def test_a_sure_gate_gives_a_vertex():
    assert PreferenceGate(make_gate(), ["helpful", "brief"]).preferences(["a" * 50]) == [Preference.only("helpful")]


def test_a_policy_of_directions_gets_a_direction():
    [chosen] = PreferenceGate(make_gate(), ["helpful", "brief"], kind="direction").preferences(["b"])
    assert chosen.kind == "direction"
    assert chosen.values == pytest.approx({"helpful": 0.5**0.5, "brief": 0.5**0.5})


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8).filter(lambda w: sum(w) > 0), st.integers(1, 1000))
def test_rounding_gives_a_valid_preference_close_by(weights, steps):
    named = {f"o{k}": weight / sum(weights) for k, weight in enumerate(weights)}
    rounded = rounded_weights(named, steps)
    Preference(rounded)  # not negative, sums to 1
    assert all(abs(rounded[name] - named[name]) < 1 / steps + 1e-9 for name in named)
    assert all(value * steps == pytest.approx(round(value * steps)) for value in rounded.values())
    assert rounded_weights(rounded, steps) == rounded


def test_remembers_prompts_and_forgets_the_oldest():
    source = PreferenceGate(make_gate(embedder=Letters()), ["helpful", "brief"], max_entries=2)
    embedded = source.gate.embedder.embedded
    source.preferences(["a", "b", "a"])
    assert embedded == ["a", "b"]
    source.preferences(["a"])
    source.preferences(["c"])  # b goes
    assert embedded == ["a", "b", "c"]
    assert source.preferences(["a", "b"])[0] == source.preferences(["a"])[0]
    assert embedded == ["a", "b", "c", "b"]
    assert len(source.preferences(["d", "e", "f"])) == 3  # more than are remembered


def test_a_text_and_a_conversation_with_the_same_words_are_two_prompts():
    source = PreferenceGate(make_gate(embedder=Letters()), ["helpful", "brief"])
    source.preferences(["a", [{"role": "user", "content": "a"}], [{"role": "system", "content": "a"}]])
    assert len(source.gate.embedder.embedded) == 3


def test_one_embedding_at_a_time():
    class Slow(Letters):
        running = 0

        def embed_prompts(self, prompts):
            Slow.running += 1
            assert Slow.running == 1
            time.sleep(0.02)
            found = super().embed_prompts(prompts)
            Slow.running -= 1
            return found

    source = PreferenceGate(make_gate(embedder=Slow()), ["helpful", "brief"])
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: source.preferences(["a" * i])})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6


@pytest.mark.parametrize(
    ("gate", "objectives", "settings", "message"),
    [
        (make_gate(("helpful", "breif")), ["helpful", "brief"], {}, "unknown objective of the gate 'breif': did you mean 'brief'"),
        (make_gate(), ["helpful", "brief", "safe"], {}, "doesn't weigh 'safe'; it has helpful, brief, the policy helpful, brief, safe"),
        (make_gate(), ["helpful", "brief"], {"kind": "weigths"}, "did you mean 'weights'"),
        (make_gate(), ["helpful", "brief"], {"max_entries": 0}, "max_entries must be at least 1"),
        (Gate(make_gate().network, ["helpful", "brief"]), ["helpful", "brief"], {}, "has no embedder"),
    ],
)  # fmt: skip
def test_refuses(gate, objectives, settings, message):
    with pytest.raises(InputError, match=message):
        PreferenceGate(gate, objectives, **settings)


def test_examples_in_docstrings():
    results = doctest.testmod(preference_gate)
    assert (results.attempted, results.failed) == (1, 0)


@pytest.mark.parametrize(("own", "ratio"), [((1.0, 4.0), 6.0), (None, 3.0)])
def test_weights_in_the_units_of_the_policy(own, ratio):
    # 3 : 1 of r / g is 3 · 3 / 1 : 1 · 6 / 4 of r / p, which is 9 : 1.5; a gate without units stays as it is.
    gate = make_gate()
    with torch.no_grad():
        gate.network.output.bias[0] = math.log(3)
    units = None if own is None else Normalizer(gate.objectives, (0.0, 7.0), own, 9)
    gate = Gate(gate.network, gate.objectives, embedder=gate.embedder, normalizer=units)
    policys = Normalizer(("brief", "helpful"), (5.0, 5.0), (6.0, 3.0), 9)
    [chosen] = PreferenceGate(gate, ["brief", "helpful"], normalizer=policys).preferences(["b"])
    assert chosen.values == pytest.approx({"helpful": ratio / (1 + ratio), "brief": 1 / (1 + ratio)}, abs=1e-3)
    [raw] = PreferenceGate(gate, ["brief", "helpful"]).preferences(["b"])
    assert raw.values == {"helpful": 0.75, "brief": 0.25}


def test_refuses_a_bare_prompt_and_a_normalizer_of_others():
    with pytest.raises(InputError, match=r"found one string: write \[text\]"):
        PreferenceGate(make_gate(), ["helpful", "brief"]).preferences("aa")
    with pytest.raises(InputError, match="unknown objective of the normalizer 'brief'"):
        PreferenceGate(
            make_gate(), ["helpful", "brief"], normalizer=Normalizer(("helpful", "safe"), (0.0, 0.0), (1.0, 1.0), 9)
        )
