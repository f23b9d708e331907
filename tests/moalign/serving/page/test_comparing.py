"""Answers that are judged against each other are answers to one prompt, and what was learned is shown of whom it was learned."""

import httpx
import pytest

pytestmark = pytest.mark.slow  # starts a browser

ALL_DONE = "[...document.querySelectorAll('.answer')].every(e => e.dataset.state === 'done')"
NOTE = "document.querySelector('.settings > .note')?.textContent"
# What the page asks of the server; requests whose address contains `holding` wait for `release()`.
LISTEN = """
window.sent = []; window.held = []; window.holding = null;
const real = window.fetch;
window.fetch = async (url, options) => {
  sent.push([String(url), options?.body ? JSON.parse(options.body) : null]);
  if (holding && String(url).includes(holding)) await new Promise(done => held.push(done));
  return real(url, options);
};
window.release = () => { holding = null; held.forEach(done => done()); };
"""


def opened(tab, server):
    tab.open(server.url)
    tab.until("document.querySelector('.groove input') !== null")
    tab.run(LISTEN)
    return tab


def called(tab, name):
    tab.run("document.querySelector('.settings').open = true")
    tab.write("#user", name)
    tab.press("Enter")


def sent(tab, path):
    return [body for url, body in tab.run("sent") if path in url]


def test_a_prompt_that_was_edited_changes_no_column_alone(tab, serving):
    with serving(("helpful", "brief")) as server:
        opened(tab, server)
        called(tab, "ada")
        tab.until(f"{NOTE}?.startsWith('New here')")
        tab.write("#prompt", "what is good bread ?")
        tab.click("#ask")
        tab.until(ALL_DONE)
        tab.write("#prompt", "why is the sun bright ?")
        tab.focus("#weight-0")
        tab.press("ArrowLeft", times=20)
        tab.until("sent.filter(([url]) => url.includes('chat/completions')).length === 3")
        tab.until(ALL_DONE)
        asked = {body["messages"][0]["content"] for body in sent(tab, "chat/completions")}
        assert asked == {"what is good bread ?"}
        tab.click("#better-A")
        tab.until("sent.some(([url]) => url.includes('v1/feedback'))")
        [told] = sent(tab, "v1/feedback")
        assert told["prompt"] == "what is good bread ?"
        assert told["chosen_preference"] == {"weights": {"helpful": 0.3, "brief": 0.7}}
        # The button asks both anew.
        tab.click("#ask")
        tab.until(ALL_DONE)
        assert {b["messages"][0]["content"] for b in sent(tab, "chat/completions")[-2:]} == {"why is the sun bright ?"}


def test_one_verdict_at_a_time(tab, serving):
    with serving(("helpful", "brief")) as server:
        opened(tab, server)
        tab.run("document.querySelector('#live').checked && document.querySelector('#live').click()")
        called(tab, "ada")
        tab.write("#prompt", "what is good bread ?")
        tab.click("#ask")
        tab.until(ALL_DONE)
        tab.run("holding = 'v1/feedback'")
        tab.click("#better-B")
        tab.until("held.length === 1")
        buttons = "[...document.querySelectorAll('.verdict button')].map(b => b.disabled)"
        assert tab.run(buttons) == [True, True]
        tab.run("document.querySelector('#better-A').click(); release()")
        tab.until("document.querySelector('.verdict .note')?.textContent.startsWith('Learned')")
        tab.until(f"{buttons}.every(off => !off)")
        assert len(sent(tab, "v1/feedback")) == 1
        assert httpx.get(f"{server.url}/v1/users/ada", timeout=60).json()["judgements"] == 1
        # The bands are of A's weights, and go with it.
        assert tab.run("document.querySelectorAll('.band').length") == 2
        tab.click("button[aria-label='Remove A']")
        assert tab.run("document.querySelectorAll('.band').length") == 0


def test_a_late_reply_about_somebody_else_changes_nothing(tab, serving):
    with serving(("helpful", "brief")) as server:
        body = {"user": "ann", "chosen_preference": "brief=1", "rejected_preference": "helpful=1"}
        for _ in range(8):
            httpx.post(f"{server.url}/v1/feedback", json=body, timeout=60).raise_for_status()
        opened(tab, server)
        before = tab.weights()
        tab.run("holding = 'users/ann'")
        called(tab, "ann")
        tab.until("held.length === 1")
        called(tab, "bob")
        tab.until(f"{NOTE}?.includes('bob')")
        tab.run("release()")
        tab.run("new Promise(done => setTimeout(done, 500))")
        assert "bob" in tab.run(NOTE)
        assert tab.weights() == before
        called(tab, "ann")
        tab.until(f"{NOTE}?.startsWith('Welcome back, ann')")
        assert tab.weights() != before


def test_a_name_that_addresses_swallow_is_not_sent(tab, two):
    opened(tab, two)
    called(tab, "..")
    tab.until(f"{NOTE}?.startsWith('Please take a name other than ..')")
    assert sent(tab, "v1/") == []


def test_a_front_with_its_objectives_in_another_order(tab, serving, front_of):
    front = front_of(("brief", "helpful"))
    wanted = next(i for i, p in enumerate(front.points) if p.preference["weights"]["helpful"] == 0.8)
    with serving(("helpful", "brief"), front=front) as server:
        opened(tab, server)
        tab.click(f"#point-{wanted} circle")
        assert tab.weights() == pytest.approx([0.8, 0.2])
        assert tab.chosen() == pytest.approx(front.points[wanted].rewards[::-1])
