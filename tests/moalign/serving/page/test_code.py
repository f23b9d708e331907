"""What the page says to copy does what the page did."""

import json
import subprocess
import sys

import httpx
import pytest

pytestmark = pytest.mark.slow  # starts a browser

PROMPT = "it's a \"quiet\" night , isn't it ? $HOME"


def as_a_shell_reads(command):
    """The arguments that curl would get."""
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + command
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.fixture(params=["chat", "completion"])
def server(request, serving):
    with serving(("helpful", "brief"), chat=request.param == "chat") as server:
        yield server


def test_curl_and_python_give_the_same_answer(tab, server):
    tab.open(server.url)
    tab.until("document.querySelector('.groove input') !== null")
    tab.focus("#weight-0")
    tab.press("ArrowRight", times=7)
    tab.write("#prompt", PROMPT)
    tab.run("document.querySelector('.settings').open = true")
    tab.write("#max_tokens", "20")
    tab.press("Tab")
    tab.click("#ask")
    tab.until("document.querySelector('#answer-A').dataset.state === 'done'")
    written = tab.run("document.querySelector('#answer-A .text').textContent")
    tab.run("document.querySelector('.snippets').open = true")
    url, header_flag, header, data_flag, data = as_a_shell_reads(
        tab.run("document.querySelector('#snippet').textContent")
    )
    assert (header_flag, data_flag) == ("-H", "-d")
    answer = httpx.post(url, content=data, headers=[tuple(header.split(": "))], timeout=120).json()
    choice = answer["choices"][0]
    assert choice.get("text", choice.get("message", {}).get("content")) == written
    assert json.loads(data)["preference"] == {"weights": {"helpful": 0.57, "brief": 0.43}} == answer["preference"]
    tab.click("#as-Python")
    code = tab.run("document.querySelector('#snippet').textContent")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == written + "\n"
