"""A tiny steerable policy of random weights, made with plain transformers, tokenizers and PEFT."""

import socket
import threading
import time

import openai
import pytest
import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from moalign.policy import SteerablePolicy
from moalign.serving.api import create_app
from moalign.serving.engine import Engine
from moalign.serving.service import Limits

WORDS = [f"w{i}" for i in range(56)]
SPECIAL = ["<pad>", "<eos>", "<unk>", "user", "assistant", "system"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}assistant"


def make_tokenizer(chat=True):
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    fast.chat_template = TEMPLATE if chat else None
    return fast


def save_base(folder, chat=True, context=128):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.35,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(chat).save_pretrained(folder)


def save_adapter(base, folder, seed, rank, alpha, modules):
    torch.manual_seed(seed)
    model = LlamaForCausalLM.from_pretrained(base)
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("serving")
    save_base(root / "base")
    save_adapter(root / "base", root / "helpful", 1, 4, 8, ["q_proj", "v_proj", "down_proj"])
    save_adapter(root / "base", root / "brief", 2, 2, 6, ["v_proj", "up_proj"])
    return root


@pytest.fixture(scope="session")
def policy(model_folders):
    adapters = {name: model_folders / name for name in ("helpful", "brief")}
    return SteerablePolicy.from_pretrained(model_folders / "base", adapters=adapters, device="cpu")


@pytest.fixture
def engine(policy):
    with Engine(policy, max_batch_size=4) as engine:
        yield engine


class RunningServer:
    """A real server on a loopback port, in a thread."""

    def __init__(self, policy, **options):
        self.app = create_app(policy, model_name="tiny", **options)
        self.service = self.app.state.service
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        wait_until(lambda: self.server.started)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(120)
        assert not self.thread.is_alive()
        self.socket.close()

    def wait_until_ready(self):
        """Returns once requests are taken; raises what kept it from that."""
        wait_until(lambda: self.service.ready or self.service.failure)
        if self.service.failure is not None:
            raise self.service.failure

    def client(self):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Hold:
    """Rows join an engine's batch, get their first token and leave it, but none gets another one after `steps` more, until `release`."""

    def __init__(self, engine, steps=0):
        self._left = steps
        self._released = threading.Event()
        self._decode = engine._batch.decode
        engine._batch.decode = self._held

    def _held(self):
        if self._left > 0 or self._released.is_set():
            self._left -= 1
            self._decode()
        else:
            time.sleep(0.001)

    def release(self):
        self._released.set()


def _hold_restart(engine):
    released, make = threading.Event(), engine._worker._make_batch

    def held():
        assert released.wait(120)
        return make()

    engine._worker._make_batch = held
    return released


@pytest.fixture(scope="session")
def hold():
    """`hold(engine, steps=0)` stops decoding where a test wants to do something in the middle of answers, however fast the machine is."""
    return Hold


@pytest.fixture(scope="session")
def hold_restart():
    """`hold_restart(engine)`: after a death its worker is not there again before the event that this returns is set."""
    return _hold_restart


@pytest.fixture(scope="session")
def start_server():
    return RunningServer


@pytest.fixture(scope="session")
def server(policy):
    limits = Limits(max_new_tokens=100, max_choices=6, max_stop=2, max_stop_length=20, max_body_bytes=20_000)
    with RunningServer(policy, limits=limits, max_batch_size=4) as server:
        wait_until(lambda: server.service.ready)
        yield server


@pytest.fixture(scope="session")
def client(server):
    return server.client()
