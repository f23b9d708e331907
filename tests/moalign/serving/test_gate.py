"""The server chooses a preference with a gate where a request brings none."""

import json
import threading

import httpx
import openai
import pytest
import torch

from frontier.errors import InputError
from moalign.preference_gate import PreferenceGate
from moalign.serving import ServeConfig, serve
from reward_heads import Normalizer
from reward_heads.gating import Gate, GateConfig
from reward_heads.gating.network import GateNetwork
from reward_heads.probes import Embedder
from reward_heads.text import plain_text

from .conftest import save_base


class Words:
    """Embeds a prompt as whether it says w1, w2."""

    width = 2
    fingerprint = "w" * 64

    def __init__(self):
        self.embedded, self.threads = [], set()

    def embed_prompts(self, prompts):
        self.embedded += prompts
        self.threads.add(threading.current_thread())
        if any("w50" in plain_text(prompt) for prompt in prompts):
            raise InputError("a text of the wrong form")
        return torch.tensor([[float(f"w{i}" in plain_text(p).split()) for i in (1, 2)] for p in prompts])


def make_gate(embedder, objectives=("brief", "helpful")):
    """w1 asks for helpful alone, w2 for brief alone, anything else for both."""
    network = GateNetwork(embedder.width, 2, GateConfig(hidden=(), temperature=1.0))
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.weight[0, 1] = network.output.weight[1, 0] = 50.0
        network.output.bias.zero_()
    return Gate(network, objectives, embedder=embedder)


UNITS = Normalizer(("helpful", "brief"), (0.0, 0.0), (1.0, 3.0), 9)
HELPFUL = {"weights": {"helpful": 1.0, "brief": 0.0}}
BRIEF = {"weights": {"helpful": 0.0, "brief": 1.0}}
HALF = {"weights": {"helpful": 0.5, "brief": 0.5}}


@pytest.fixture(scope="module")
def words():
    return Words()


@pytest.fixture(scope="module")
def gated(policy, start_server, words):
    def gate(loaded):
        return PreferenceGate(make_gate(words), loaded.objectives)

    with start_server(policy, gate=gate, max_batch_size=4) as server:
        server.wait_until_ready()
        yield server


def post(server, path="/v1/completions", **body):
    return httpx.post(server.url + path, json=body, timeout=120)


def test_a_request_without_a_preference_gets_the_gates(policy, gated):
    for prompt, expected in (("w1", HELPFUL), ("w2 w3", BRIEF), ("w9", HALF)):
        answer = post(gated, prompt=prompt, max_tokens=12, temperature=0).json()
        assert (answer["preference"], answer["preference_source"]) == (expected, "gate")
        [text] = policy.generate([prompt], [expected], max_new_tokens=12, do_sample=False)
        assert answer["choices"][0]["text"] == text


def test_a_preference_that_is_brought_wins(policy, gated):
    answer = post(gated, prompt="w1", preference="brief=1", max_tokens=12, temperature=0).json()
    assert (answer["preference"], answer["preference_source"]) == (BRIEF, "request")
    [text] = policy.generate(["w1"], ["brief=1"], max_new_tokens=12, do_sample=False)
    assert answer["choices"][0]["text"] == text
    assert post(gated, prompt="w1", preference={"helpfull": 1}).status_code == 400
    assert post(gated, prompt="w1", preference=None, max_tokens=1).json()["preference_source"] == "gate"


def test_every_prompt_of_a_request_gets_its_own(policy, gated):
    prompts = ["w1", "w2", "w9"]
    answer = post(gated, prompt=prompts, n=2, max_tokens=12, temperature=0).json()
    assert answer["preference"] == [HELPFUL, BRIEF, HALF]
    texts = policy.generate(prompts, [HELPFUL, BRIEF, HALF], max_new_tokens=12, do_sample=False)
    assert [c["text"] for c in answer["choices"]] == [text for text in texts for _ in range(2)]


def test_token_ids_are_read_as_text(policy, gated):
    ids = policy.encode(["w2 w3"])
    answer = post(gated, prompt=ids, max_tokens=1).json()
    assert answer["preference"] == [BRIEF] or answer["preference"] == BRIEF
    for wrong, message in (([999], "not in the vocabulary"), ([-1], "not in the vocabulary"), ([[]], "no tokens")):
        refused = post(gated, prompt=wrong)
        assert refused.status_code == 400
        assert message in refused.json()["error"]["message"]


def test_chat_whole_and_streamed(gated):
    body = {"messages": [{"role": "user", "content": "w2"}], "max_tokens": 5, "temperature": 0}
    whole = post(gated, "/v1/chat/completions", **body).json()
    assert (whole["preference"], whole["preference_source"]) == (BRIEF, "gate")
    client = openai.OpenAI(base_url=f"{gated.url}/v1", api_key="none", max_retries=0)
    chunks = list(client.chat.completions.create(model="tiny", **body, stream=True))
    assert (chunks[-1].preference, chunks[-1].preference_source) == (BRIEF, "gate")


def test_streams_tell_each_prompts_own(gated):
    text = post(gated, prompt=["w1", "w2"], max_tokens=2, stream=True, stream_options={"include_usage": True}).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    ended = {
        c["choices"][0]["index"]: c["preference"] for c in chunks if c["choices"] and c["choices"][0]["finish_reason"]
    }
    assert ended == {0: HELPFUL, 1: BRIEF}
    assert chunks[-1]["preference"] == [HELPFUL, BRIEF]


def test_prompts_are_embedded_once_and_never_on_the_event_loop(gated, words):
    for _ in range(3):
        post(gated, prompt="w7 w7", max_tokens=1)
    assert words.embedded.count("w7 w7") == 1
    assert gated.thread not in words.threads  # uvicorn's loop runs there
    before = len(words.embedded)
    assert post(gated, prompt=[f"w{i} w8" for i in range(65)]).status_code == 400  # more than max_choices
    assert post(gated, prompt="w8 w8 w8", preference="brief=1", max_tokens=1).status_code == 200
    assert len(words.embedded) == before


def test_what_the_gate_refuses_is_the_clients_fault(gated):
    answer = post(gated, prompt="w50")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "prompt: a text of the wrong form"


def test_the_models_page_says_so(gated, client):
    [card] = httpx.get(gated.url + "/v1/models", timeout=120).json()["data"]
    assert card["preference_gate"] is True
    assert card["default_preference"] == HALF  # for who asks for it by name
    [without] = client.models.list()
    assert without.preference_gate is False
    assert client.completions.create(model="tiny", prompt="w1", max_tokens=1).preference_source == "default"


def test_a_gate_that_does_not_fit_ends_the_server(policy, start_server, words):
    def gate(loaded):
        return PreferenceGate(make_gate(words, ("brief", "safe")), loaded.objectives)

    with start_server(policy, gate=gate) as server:
        while server.service.failure is None:
            assert not server.service.ready
    assert "unknown objective of the gate 'safe'" in str(server.service.failure)


# ---- moalign serve --gate


@pytest.fixture(scope="module")
def saved(policy, tmp_path_factory):
    """A bundle and a gate that reads prompts with the bundle's own kind of model."""
    root = tmp_path_factory.mktemp("gated")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(policy, "normalizer", UNITS.to_json())
        policy.save_pretrained(root / "bundle")
    save_base(root / "encoder")
    make_gate_of(root, ("helpful", "brief")).save_pretrained(root / "gate")
    make_gate_of(root, ("helpful", "safe")).save_pretrained(root / "other")
    return root


def make_gate_of(root, objectives):
    embedder = Embedder.from_pretrained(root / "encoder")
    network = GateNetwork(embedder.width, 2, GateConfig(hidden=(8,)))
    normalizer = Normalizer(objectives, (0.0, 0.0), (1.0, 1.0), 9)
    return Gate(network, objectives, embedder=embedder, normalizer=normalizer)


def test_serves_with_the_gate_of_a_folder(saved, capsys, monkeypatch):
    import uvicorn

    seen = {}

    def run(server, sockets):
        """Ask as soon as it listens, then stop; signals belong to the main thread, which is here."""
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

        def ask():
            body = {"prompt": "w3 w4", "max_tokens": 2}
            try:
                # It listens already: the first question waits for it.
                while httpx.get(url + "/health/ready", timeout=120).status_code != 200:
                    assert server.service.failure is None, server.service.failure
                seen.update(httpx.post(url + "/v1/completions", json=body, timeout=120).json())
            finally:
                server.should_exit = True

        asking = threading.Thread(target=ask)
        asking.start()
        original(server, sockets=sockets)
        asking.join()

    original = uvicorn.Server.run
    monkeypatch.setattr(uvicorn.Server, "run", run)
    serve(saved / "bundle", port=0, device="cpu", gate=str(saved / "gate"))
    expected, raw = (
        PreferenceGate.from_pretrained(saved / "gate", ["helpful", "brief"], normalizer=units).preferences(["w3 w4"])[0]
        for units in (UNITS, None)
    )
    assert seen["preference"] == expected.to_json()
    assert expected != raw  # it is in the policy's units
    assert seen["preference_source"] == "gate"
    assert "Requests without a preference get the gate's choice" in capsys.readouterr().out


def test_a_gate_that_is_missing_or_does_not_fit_is_refused_before_listening(saved, tmp_path):
    with pytest.raises(InputError, match=r"gate: no gate in .*: it has no gate\.json"):
        serve(saved / "bundle", port=0, gate=str(tmp_path))
    with pytest.raises(InputError, match="gate: the gate doesn't fit the policy: unknown objective of the gate 'safe'"):
        serve(saved / "bundle", port=0, gate=str(saved / "other"))


def test_the_flag_is_a_setting():
    assert ServeConfig(gate="folder").gate == "folder"
    assert ServeConfig().gate is None
