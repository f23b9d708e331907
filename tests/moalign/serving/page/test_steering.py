"""Weights are moved by slider, triangle and front; the point follows, and the answers stream."""

import itertools
import threading

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.slow  # starts a browser

# Every length that an answer had while it was written.
WATCH = """
window.lengths = {};
new MutationObserver(() => document.querySelectorAll('.answer').forEach(e => {
  const n = (e.querySelector('.text')?.textContent ?? '').length, seen = lengths[e.id] ??= [];
  if (seen.at(-1) !== n) seen.push(n);
})).observe(document.getElementById('app'), { subtree: true, childList: true, characterData: true });
"""
ALL_DONE = "[...document.querySelectorAll('.answer')].every(e => e.dataset.state === 'done')"


def opened(tab, server, **size):
    tab.open(server.url, **size)
    tab.until("document.querySelector('.groove input') !== null")
    tab.run(WATCH)
    return tab


def settled(tab):
    """The place of the chosen point once the server has told what to expect there."""
    last = None
    while last != (last := (tab.chosen(), tab.text("#expected-0"))):
        tab.run("new Promise(done => setTimeout(done, 500))")
    return last[0]


def test_a_slider_moves_the_point_and_the_line_and_the_answers_stream(tab, two):
    opened(tab, two)
    before, line = settled(tab), tab.run("document.querySelector('#iso-line').outerHTML")
    tab.write("#prompt", "why is the sun bright ?")
    tab.click("#ask")
    tab.until(ALL_DONE)
    first = tab.text("#answer-A .text")
    assert first != tab.text("#answer-B .text")
    tab.focus("#weight-0")
    tab.press("ArrowRight", times=40)
    assert tab.weights() == pytest.approx([0.9, 0.1])
    after = settled(tab)
    assert after[0] > before[0] + 0.1  # more helpful,
    assert after[1] < before[1] - 0.1  # less brief
    assert tab.run("document.querySelector('#iso-line').outerHTML") != line
    # The sliders came to rest: the answer is written again, for the new weights.
    tab.until(f"document.querySelector('#answer-A .text')?.textContent !== {first!r} && {ALL_DONE}")
    lengths = tab.run("lengths")
    for card in ("answer-A", "answer-B"):
        assert len([a for a, b in zip(lengths[card], lengths[card][1:], strict=False) if b > a]) >= 3, lengths
    assert "token" in tab.text("#answer-A .answer-foot")


def test_the_answer_is_the_api_s_answer_for_these_weights(tab, two):
    opened(tab, two)
    tab.focus("#weight-0")
    tab.press("ArrowLeft", times=20)
    tab.write("#prompt", "tell me about the sea")
    tab.click("#ask")
    tab.until(ALL_DONE)
    body = {
        "messages": [{"role": "user", "content": "tell me about the sea"}],
        "preference": {"weights": {"helpful": 0.3, "brief": 0.7}},
        "max_tokens": 200,
        "temperature": 0.7,
        "seed": 1,
    }
    answer = httpx.post(f"{two.url}/v1/chat/completions", json=body, timeout=120).json()
    assert (
        tab.run("document.querySelector('#answer-A .text').textContent") == answer["choices"][0]["message"]["content"]
    )


def test_expected_rewards_are_the_server_s(tab, two):
    opened(tab, two)
    tab.focus("#weight-0")
    tab.press("ArrowRight", times=13)
    place = settled(tab)
    body = {"preference": {"weights": {"helpful": 0.63, "brief": 0.37}}}
    expected = httpx.post(f"{two.url}/v1/preferences/pick", json=body, timeout=120).json()["expected"]
    assert place == pytest.approx([expected["helpful"]["mean"], expected["brief"]["mean"]], abs=1e-9)
    assert float(tab.text("#expected-0")) == pytest.approx(expected["helpful"]["mean"], abs=0.006)


def test_the_line_is_of_equal_utility(tab, two):
    """Its slope in rewards is -w0/w1, and it goes through the chosen point."""
    opened(tab, two)
    tab.focus("#weight-0")
    tab.press("ArrowRight", times=20)
    settled(tab)
    ends = tab.run(
        "(l => ['x1', 'y1', 'x2', 'y2'].map(n => Number(l.getAttribute(n))))(document.querySelector('#iso-line'))"
    )
    # Two measured points give the scales of both axes.
    points = tab.run(
        "[...document.querySelectorAll('.point circle')].map(c => [c.parentElement.id, Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))])"
    )
    front = two.service.front
    rewards = np.array([front.points[int(name.split("-")[1])].rewards for name, *_ in points])
    pixels = np.array([place for _, *place in points])
    (ax, bx), (ay, by) = (np.polyfit(pixels[:, i], rewards[:, i], 1) for i in (0, 1))
    start, end = np.array([ax * ends[0] + bx, ay * ends[1] + by]), np.array([ax * ends[2] + bx, ay * ends[3] + by])
    weights = np.array([0.7, 0.3])
    assert abs((end - start) @ weights) < 1e-6 * np.linalg.norm(end - start)
    assert abs((np.array(tab.chosen()) - start) @ weights) < 1e-6 * np.linalg.norm(end - start)


def test_sliders_stay_on_the_simplex_and_keep_proportions(tab, three):
    opened(tab, three)
    tab.focus("#weight-2")
    tab.press("End")
    assert tab.weights() == [0, 0, 1]
    tab.press("Home")
    assert tab.weights() == pytest.approx([0.5, 0.5, 0], abs=0.01)  # as they were before all went to the third
    tab.focus("#weight-0")
    tab.press("ArrowRight", times=10)
    assert tab.weights() == pytest.approx([0.6, 0.4, 0], abs=0.01)
    assert sum(float(tab.text(f"#weight-{k}-value")) for k in range(3)) == pytest.approx(1)


def test_the_triangle_by_mouse_and_by_keys(tab, three):
    opened(tab, three)
    x, y, width, height = tab.place("#triangle")
    tab.drag((x, y), (x - width, y + height))  # far below the left corner: all weight on the first objective
    assert tab.weights() == [1, 0, 0]
    tab.focus("#triangle")
    tab.press("ArrowRight", times=5)
    assert tab.weights() == pytest.approx([0.9, 0.1, 0])
    tab.press("ArrowUp", times=5)
    assert tab.weights() == pytest.approx([0.85, 0.05, 0.1])
    assert tab.run("document.querySelector('#triangle').getAttribute('aria-valuetext')").startswith("helpful\u00a00.85")


def test_a_click_or_enter_on_a_measured_point_takes_its_weights(tab, three):
    opened(tab, three)
    front = three.service.front
    wanted = next(i for i, p in enumerate(front.points) if p.preference["weights"]["warm"] == 0.6)
    tab.click(f"#point-{wanted} circle")
    weights = front.points[wanted].weights(front.objectives)
    assert tab.weights() == pytest.approx(weights, abs=0.005)
    assert tab.chosen() == pytest.approx(front.points[wanted].rewards[:2])
    tab.focus(".point[tabindex='0']")
    tab.press("ArrowRight", times=3)
    reached = tab.run("document.activeElement.id")
    tab.press("Enter")
    point = front.points[int(reached.removeprefix("point-"))]
    if point.preference is not None:
        assert tab.weights() == pytest.approx(point.weights(front.objectives), abs=0.005)


def test_another_pair_of_objectives(tab, three):
    opened(tab, three)
    tab.run(
        "(s => { s.value = '2'; s.dispatchEvent(new Event('change', { bubbles: true })); })(document.querySelector('#axis-x'))"
    )
    tab.click("#point-0 circle")
    rewards = three.service.front.points[0].rewards
    assert tab.chosen() == pytest.approx([rewards[2], rewards[1]])


def test_a_requirement_sets_the_weights(tab, two):
    opened(tab, two)
    front = two.service.front
    tab.run("document.querySelector('.pick').open = true")
    tab.write("#pick-level", "1.0")
    tab.click(".pick button")
    best = max((p for p in front.points if p.rewards[1] >= 1.0), key=lambda p: p.rewards[0])
    tab.until("document.querySelector('.pick .note') !== null")
    assert tab.weights() == pytest.approx(best.weights(front.objectives), abs=0.005)
    tab.write("#pick-level", "99")
    tab.click(".pick button")
    tab.until("document.querySelector('.pick .note').textContent.includes('99')")  # the server's own words


def test_stop_ends_the_answers(tab, serving, wordy):
    """The model stands still after a few steps, so that there is something to stop however slow or fast the machine is."""
    released, steps = threading.Event(), itertools.count()

    def hold(*_):
        if next(steps) >= 6:
            released.wait()

    embedding = wordy(("helpful", "brief")).model.get_input_embeddings()
    held = embedding.register_forward_pre_hook(hold)
    try:
        with serving(("helpful", "brief")) as server:
            opened(tab, server)
            tab.write("#prompt", "tell me a story")
            tab.click("#ask")
            tab.until("document.querySelector('#answer-A .text') !== null")
            tab.click("#stop")
            tab.until("document.querySelector('#ask') !== null")
            texts = "[...document.querySelectorAll('.answer')].map(e => [e.dataset.state, e.querySelector('.text')?.textContent])"
            before = tab.run(texts)
            assert before[0][0] == "stopped"
            released.set()
            # The server forgets them too: the next request is all that it works on.
            ask = {"prompt": "tell me", "max_tokens": 3}
            assert httpx.post(f"{server.url}/v1/completions", json=ask, timeout=300).status_code == 200
            assert tab.run(texts) == before
    finally:
        released.set()
        held.remove()


def test_three_tastes_side_by_side(tab, three):
    opened(tab, three)
    tab.click("#add-taste")
    assert tab.run("document.querySelectorAll('.answer').length") == 3
    assert tab.run("document.querySelector('#add-taste')") is None
    tab.write("#prompt", "what is light ?")
    tab.click("#ask")
    tab.until(ALL_DONE)
    texts = tab.run("[...document.querySelectorAll('.answer')].map(e => e.querySelector('.text')?.textContent)")
    assert len(set(texts)) == 3
    tab.click("#answer-B .round")
    assert tab.run("[...document.querySelectorAll('.answer')].map(e => e.querySelector('.text')?.textContent)") == [
        texts[0],
        texts[2],
    ]
