"""A headless Chromium that is driven by the DevTools protocol, and tiny policies on real servers for it to look at."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from frontier.front import FrontPoint, ParetoFront
from moalign.policy import SteerablePolicy

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
# Nothing is timed; a machine that is this slow is broken.
PATIENCE = 300

WORDS = """
the a of to and in is it you that for on with as at this be or not but we they light water tree answer short
kind clear plain warm careful honest small long good best new word idea story question reason people day night
city river mountain music garden coffee bread letter window door road sun rain winter summer begins grows
turns makes gives keeps finds shows helps takes why what how when tell me about please thank because then
often never always more less quite very simple quiet gentle bright , . ! ?
"""
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}."


@pytest.fixture(scope="session")
def wordy(tmp_path_factory):
    """Makes policies of random weights that speak English words: `wordy(("helpful", "brief"), chat=True)`."""
    root = tmp_path_factory.mktemp("wordy")
    made = {}

    def base(chat):
        folder = root / ("chat" if chat else "plain")
        if not folder.exists():
            vocabulary = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *dict.fromkeys(WORDS.split())])}
            core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
            core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
            )
            tokenizer.chat_template = TEMPLATE if chat else None
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.2,
                bos_token_id=None, eos_token_id=1, pad_token_id=0,
            )  # fmt: skip
            LlamaForCausalLM(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return folder

    def adapter(folder, seed):
        target = root / f"adapter-{seed}"
        if not target.exists():
            torch.manual_seed(seed)
            config = LoraConfig(r=2, lora_alpha=4, target_modules=["v_proj", "down_proj"], init_lora_weights=False)
            get_peft_model(LlamaForCausalLM.from_pretrained(folder), config).save_pretrained(target)
        return target

    def make(objectives, chat=True):
        key = (tuple(objectives), chat)
        if key not in made:
            folder = base(chat)
            adapters = {name: adapter(folder, seed) for seed, name in enumerate(objectives)}
            made[key] = SteerablePolicy.from_pretrained(folder, adapters=adapters, device="cpu")
        return made[key]

    return make


def concave_front(objectives, steps=5):
    """Points at a lattice of weights on a concave front, with errors, and one that was asked for nothing."""
    k = len(objectives)
    rng = np.random.default_rng(k)
    lattice = [np.array(w) / steps for w in itertools.product(range(steps + 1), repeat=k) if sum(w) == steps]
    points = [
        FrontPoint(
            np.sqrt(w + 0.02) * np.linspace(1, 1.6, k) - 0.2 + rng.normal(0, 0.015, k),
            rng.uniform(0.02, 0.035, k),
            64,
            {"weights": dict(zip(objectives, w.tolist(), strict=True))},
            extra={"sample": f"an answer at {w.round(2).tolist()}"},
        )
        for w in lattice
    ]
    points.append(FrontPoint([0.02] * k, [0.03] * k, 64))
    return ParetoFront(tuple(objectives), tuple(points), FrontPoint([-0.05] * k, [0.03] * k, 64))


@pytest.fixture(scope="session")
def front_of():
    return concave_front


class Tab:
    """A page in the browser."""

    def __init__(self, socket):
        self._socket = socket
        self._ids = itertools.count(1)
        self.events = []
        self.opened = ["data:", "about:"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        # Behind other tabs no element would get the focus.
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method, **params):
        """One command; what the browser answers. Events that come before it are kept."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, script):
        """The value of an expression; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script):
        """Wait until an expression is true; its value."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(script)):
            assert time.monotonic() < end, (
                f"waited in vain for {script}; the page says: {self.run('document.body.innerText')}"
            )
            time.sleep(0.05)
        return found

    def open(self, url, width=1280, height=800, dark=False):
        """Load a page as a screen or, below 600 pixels, as a phone."""
        phone = width < 600
        self.opened.append(f"{url}/")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.querySelector('main > *') !== null")
        return self

    def text(self, selector):
        """What is written in an element."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText")

    def place(self, selector):
        """The middle of an element that is brought into sight, and its box."""
        script = f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});
            const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2, b.width, b.height]; }})()"""
        return self.run(script)

    def click(self, selector):
        """Press and release the mouse in the middle of an element."""
        self.until(f"(e => e !== null && !e.disabled)(document.querySelector({json.dumps(selector)}))")
        x, y, *_ = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start, end, steps=5):
        """The mouse from one place to another with the button down."""
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for i in range(1, steps + 1):
            x, y = (a + (b - a) * i / steps for a, b in zip(start, end, strict=True))
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def press(self, key, times=1):
        """A key of the keyboard, where the focus is."""
        codes = {
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
            "Enter": 13,
            "Tab": 9,
            "Home": 36,
            "End": 35,
        }
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                typed = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
                self.send(
                    "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **typed
                )

    def focus(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")

    def write(self, selector, text):
        """Type into a field, in place of what it holds."""
        self.focus(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.send("Input.insertText", text=text)

    def weights(self):
        """What the sliders say."""
        return self.run("[...document.querySelectorAll('.groove input')].map(e => Number(e.value))")

    def chosen(self):
        """Where the taste that the sliders move lies in the front, in rewards."""
        return self.run("(e => e && [Number(e.dataset.x), Number(e.dataset.y)])(document.querySelector('#chosen'))")

    def shot(self, path, whole=True):
        """A picture of the page."""
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def problems(self):
        """What went wrong: exceptions, complaints in the console, and what was loaded from elsewhere."""
        self.run("0")  # events that are on their way arrive before the answer
        found = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(params["exceptionDetails"].get("exception", params["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                    found.append(params["args"])
                # A status that an answer of the API has is the page's to deal with.
                case "Log.entryAdded" if params["entry"]["level"] == "error" and params["entry"]["source"] != "network":
                    found.append(params["entry"])
                case "Network.requestWillBeSent" if not params["request"]["url"].startswith(tuple(self.opened)):
                    found.append(params["request"]["url"])
        return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Opens tabs: `with browser() as tab`."""
    if BROWSER is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    connect = pytest.importorskip(
        "websockets.sync.client", reason="the package websockets, which talks to the browser, is not installed"
    ).connect
    profile = tmp_path_factory.mktemp("profile")
    with open(profile / "browser.log", "w") as log:
        process = subprocess.Popen(
            [BROWSER, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + PATIENCE
        told = profile / "DevToolsActivePort"
        while not (told.exists() and told.read_text().count("\n")):
            assert process.poll() is None, (profile / "browser.log").read_text()[-2000:]
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.05)
        tools = f"http://127.0.0.1:{told.read_text().splitlines()[0]}/json"

        @contextlib.contextmanager
        def tab():
            request = urllib.request.Request(f"{tools}/new?about:blank", method="PUT")
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                target = json.load(answer)
            try:
                with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=PATIENCE) as socket:
                    yield Tab(socket)
            finally:
                urllib.request.urlopen(f"{tools}/close/{target['id']}", timeout=PATIENCE).close()

        yield tab
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def tab(browser):
    """One page; whatever a test does with it, nothing goes wrong inside and nothing is loaded from elsewhere."""
    with browser() as tab:
        yield tab
        assert tab.problems() == []


@pytest.fixture(scope="session")
def serving(start_server, wordy, front_of):
    """Starts a real server: `with serving(("helpful", "brief")) as server`."""

    @contextlib.contextmanager
    def serving(objectives, *, front=True, chat=True, ready=True, **options):
        measured = front_of(objectives) if front is True else front or None
        policy = options.pop("policy", None) or wordy(objectives, chat)
        with start_server(policy, front=measured, **options) as server:
            end = time.monotonic() + PATIENCE
            while ready and not server.service.ready:
                assert time.monotonic() < end, "the server does not get ready"
                time.sleep(0.01)
            yield server

    return serving


@pytest.fixture(scope="session")
def three(serving):
    """A server of three objectives with a measured front."""
    with serving(("helpful", "brief", "warm")) as server:
        yield server


@pytest.fixture(scope="session")
def two(serving):
    """A server of two objectives with a measured front."""
    with serving(("helpful", "brief")) as server:
        yield server
