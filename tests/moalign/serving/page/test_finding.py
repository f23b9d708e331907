"""The page asks which answer is better, and the weights follow."""

import itertools

import httpx
import pytest

pytestmark = pytest.mark.slow  # starts a browser

OPEN = "(b => b !== null && !b.disabled)(document.querySelector('#verdict-a'))"


def question(tab):
    """The open question, once both answers to it stand there."""
    tab.until(f"{OPEN} || document.querySelector('.done') !== null")
    return tab.text("#answers-title")


def answered(tab, verdict):
    before = question(tab)
    tab.click(f"#verdict-{verdict}")
    tab.until(f"document.querySelector('#answers-title').innerText !== {before!r}")
    question(tab)


@pytest.mark.parametrize("width", [1280, 390])
def test_three_answers_move_the_weights(tab, three, width):
    tab.open(three.url, width=width)
    tab.until("document.querySelector('#mode-find') !== null")
    tab.write("#prompt", "please tell me about the garden")
    tab.click("#mode-find")
    seen = [tab.weights()]
    texts = []
    for number in (1, 2, 3):
        assert question(tab) == f"Question {number}"
        texts.append([tab.text(f"#answer-{side} .text") for side in "AB"])
        warm = [float(tab.text(f"#answer-{side} .words").split("warm\u00a0")[1]) for side in "AB"]
        answered(tab, "ab"[warm[1] > warm[0]])  # the reader likes warmth
        seen.append(tab.weights())
    assert all(a != b for a, b in itertools.pairwise(seen))
    assert seen[-1][2] > seen[0][2] + 0.1
    assert all(sum(weights) == pytest.approx(1, abs=0.02) for weights in seen)
    assert all(a and b and a != b for a, b in texts)  # the same prompt under two preferences
    assert tab.run("document.querySelectorAll('.band').length") == 3


def test_to_the_end_and_back_to_exploring(tab, two):
    tab.open(two.url)
    tab.until("document.querySelector('#mode-find') !== null")
    tab.click("#mode-find")
    while question(tab) != "Your taste":
        left, right = (float(tab.text(f"#answer-{side} .words").split()[1].strip(",")) for side in "AB")
        answered(tab, "a" if left > right else "b")
    assert tab.weights()[0] >= 0.75
    found = tab.text(".result")
    tab.click(".done button")
    tab.until("document.querySelector('#answer-A') !== null")
    assert tab.text("#answer-A .words") == found


def test_without_a_prompt_the_measured_rewards_and_samples_are_shown(tab, two):
    tab.open(two.url)
    tab.until("document.querySelector('#mode-find') !== null")
    tab.click("#mode-find")
    question(tab)
    assert tab.text("#answer-A .text").startswith("an answer at [")
    assert "Measured rewards: helpful" in tab.text("#answer-A")
    tab.click("#verdict-cant_tell")
    tab.until("document.querySelector('#answers-title').innerText === 'Question 2'")


def test_a_named_reader_teaches_the_server(tab, serving):
    with serving(("helpful", "brief")) as server:
        tab.open(server.url)
        tab.until("document.querySelector('.groove input') !== null")
        tab.run("document.querySelector('.settings').open = true")
        tab.write("#user", "ada")
        tab.press("Enter")
        tab.until("document.querySelector('.settings > .note')?.textContent.startsWith('New here')")
        tab.write("#prompt", "what is good bread ?")
        tab.click("#ask")
        tab.click("#better-B")  # B is all brief
        tab.until("document.querySelector('.verdict .note')?.textContent.startsWith('Learned')")
        first = tab.weights()
        assert first[1] > 0.5
        known = httpx.get(f"{server.url}/v1/users/ada", timeout=60).json()
        assert known["judgements"] == 1
        assert first == pytest.approx([known["weights"][name]["mean"] for name in ("helpful", "brief")], abs=0.006)
        assert tab.run("document.querySelectorAll('.band').length") == 2
        tab.click(".who button[type=button]")
        tab.until("document.querySelector('.settings > .note').textContent.includes('deleted')")
        assert httpx.get(f"{server.url}/v1/users/ada", timeout=60).status_code == 404
