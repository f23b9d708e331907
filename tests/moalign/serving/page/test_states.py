"""What the page shows while the model loads, when a key is wanted, without a front, with one objective, and when the API refuses."""

import threading

import httpx
import pytest

from moalign.serving.access import Access
from moalign.serving.access.policy_file import add_key

pytestmark = pytest.mark.slow  # starts a browser

ANSWERED = "[...document.querySelectorAll('.answer')].every(e => e.dataset.state === 'done')"


def ask(tab, text="tell me about rain"):
    tab.write("#prompt", text)
    tab.click("#ask")


def test_it_waits_for_the_model_and_goes_on_by_itself(tab, serving, wordy):
    loaded = threading.Event()
    policy = wordy(("helpful", "brief"))

    def load():
        loaded.wait()
        return policy

    try:
        with serving(("helpful", "brief"), policy=load, ready=False) as server:
            tab.open(server.url)
            tab.until("document.querySelector('.loading')?.innerText.includes('the model is still loading')")
            assert tab.run("document.querySelector('#prompt')") is None
            loaded.set()
            tab.until("document.querySelector('.groove input') !== null")
            assert tab.run("document.querySelector('.loading')") is None
    finally:
        loaded.set()


def test_a_key_is_asked_for_used_and_kept_nowhere(tab, serving, tmp_path):
    path = tmp_path / "keys.yaml"
    key = add_key(path, "alice", {"preference": {"helpful": {"min": 0.2}}})
    with serving(("helpful", "brief"), access=Access(path)) as server:
        tab.open(server.url)
        tab.until("document.querySelector('#key-form')?.innerText.includes('no API key')")
        tab.write("#key", "not-a-key")
        tab.press("Enter")
        tab.until("document.querySelector('#key-form')?.innerText.includes('not valid')")
        tab.write("#key", key)
        tab.press("Enter")
        tab.until("document.querySelector('.groove input') !== null")
        # B asks for less help than the key allows: refused in the server's words. A is answered.
        ask(tab)
        tab.until("document.querySelector('#answer-A').dataset.state === 'done'")
        tab.until("document.querySelector('#answer-B .error') !== null")
        body = {"prompt": "x", "preference": {"weights": {"helpful": 0.0, "brief": 1.0}}}
        told = httpx.post(
            f"{server.url}/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        assert told.status_code == 403
        assert tab.text("#answer-B .error") == told.json()["error"]["message"]
        tab.run("document.querySelector('.snippets').open = true")
        assert "$MOALIGN_API_KEY" in tab.text("#snippet")
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href, document.body.innerText])"
        assert key not in tab.run(kept)
        tab.open(server.url)
        tab.until("document.querySelector('#key-form') !== null")


def test_without_a_front_there_are_sliders_only(tab, serving):
    with serving(("helpful", "brief", "warm"), front=False) as server:
        tab.open(server.url)
        tab.until("document.querySelectorAll('.groove input').length === 3")
        assert "no measured front" in tab.text(".weights")
        for absent in ("#front-plot", "#mode-find", ".pick", ".expectation"):
            assert tab.run(f"document.querySelector({absent!r})") is None
        ask(tab)
        tab.until(ANSWERED)


def test_one_objective_has_nothing_to_trade(tab, serving):
    with serving(("helpful",)) as server:
        tab.open(server.url)
        tab.until("document.querySelector('.weights') !== null")
        assert "nothing to trade off" in tab.text(".weights")
        for absent in (".groove input", "#front-plot", "#mode-find", "#add-taste"):
            assert tab.run(f"document.querySelector({absent!r})") is None
        ask(tab)
        tab.until(ANSWERED)
        assert tab.run("document.querySelectorAll('.answer').length") == 1


def test_four_objectives_have_sliders_and_a_choice_of_axes(tab, serving):
    with serving(("helpful", "brief", "warm", "safe")) as server:
        tab.open(server.url, width=360)
        tab.until("document.querySelectorAll('.groove input').length === 4")
        assert tab.run("document.querySelector('#triangle')") is None
        assert tab.run("[...document.querySelectorAll('#axis-x option')].map(o => o.text)") == [
            "helpful",
            "brief",
            "warm",
            "safe",
        ]
        tab.focus("#weight-3")
        tab.press("End")
        assert tab.weights() == [0, 0, 0, 1]
        assert tab.run("document.querySelector('#iso-line')") is None  # neither axis counts


def test_a_model_without_a_chat_template_gets_the_plain_prompt(tab, serving):
    with serving(("helpful", "brief"), chat=False) as server:
        tab.open(server.url)
        tab.until("document.querySelector('.groove input') !== null")
        ask(tab)
        tab.until(ANSWERED)
        tab.run("document.querySelector('.snippets').open = true")
        assert "/v1/completions" in tab.text("#snippet")


def test_what_the_api_refuses_is_said_in_its_words(tab, two):
    tab.open(two.url)
    tab.until("document.querySelector('.groove input') !== null")
    tab.run("document.querySelector('.settings').open = true")
    tab.write("#max_tokens", "5000")
    tab.press("Tab")
    ask(tab)
    tab.until("document.querySelector('#answer-A .error') !== null")
    assert "5000" in tab.text("#answer-A .error")
    assert "max_new_tokens" in tab.text("#answer-A .error")


def test_a_server_that_is_gone_is_said_to_be(tab, serving):
    with serving(("helpful", "brief")) as server:
        tab.open(server.url)
        tab.until("document.querySelector('.groove input') !== null")
    ask(tab)
    tab.until("document.querySelector('#answer-A .error')?.innerText === 'the server cannot be reached'")


def test_names_and_texts_are_text(tab, serving, front_of):
    """Nothing that a bundle or a model says becomes markup."""
    import dataclasses

    evil = "<img src=x onerror=alert(1)>"
    front = front_of(("helpful", "brief"))
    point = front.points[0]
    marked = dataclasses.replace(point, extra={"sample": evil, "label": evil})
    front = dataclasses.replace(front, points=(marked, *front.points[1:]))
    with serving(("helpful", "brief"), front=False) as server:
        server.service.front = front
        tab.open(server.url)
        tab.until("document.querySelector('#point-0') !== null")
        tab.focus("#point-0")
        tab.until(f"document.querySelector('.legend').innerText.includes({evil!r})")
        assert tab.run("document.querySelectorAll('img').length") == 0
