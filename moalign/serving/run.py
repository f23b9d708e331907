"""Start the server: load a bundle, listen, say how to ask, and stop without losing what was accepted."""

import asyncio
import contextlib
import ipaddress
import json
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from frontier.errors import InputError

if TYPE_CHECKING:
    from moalign.policy import SteerablePolicy
    from moalign.preference_gate import PreferenceGate


@dataclass
class ServeConfig:
    """Settings of `moalign serve`; each is a flag and a YAML key of the same name."""

    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on; 0.0.0.0 for every network"})
    port: int = field(default=8000, metadata={"help": "port to listen on; 0 picks a free one"})
    base: str | None = field(default=None, metadata={"help": "where the bundle's base model lies now, if it moved"})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; a GPU where there is one"})
    dtype: str = field(default="auto", metadata={"help": "of the base model: auto, float32, bfloat16, float16"})
    served_model_name: str | None = field(
        default=None, metadata={"help": "what clients call the model; the folder's name"}
    )
    gate: str | None = field(
        default=None, metadata={"help": "folder of a gate, which chooses the preference of requests that bring none"}
    )
    policy: str | None = field(
        default=None, metadata={"help": "file of API keys and what each may do (moalign serve keys add makes one)"}
    )
    allow_anyone: bool = field(
        default=False,
        metadata={
            "help": "without a policy, listen on other addresses than this machine's own, and answer to any host name"
        },
    )
    cors_origins: list[str] | None = field(
        default=None, metadata={"help": "origins of web pages that may ask, such as https://example.org; none"}
    )
    reward_heads: str | None = field(
        default=None, metadata={"help": "folder of reward heads that score texts; the bundle's own (rewards/)"}
    )
    database: str | None = field(
        default=None,
        metadata={"help": "where users' feedback is kept: a file (SQLite) or postgresql://...; in memory by default"},
    )
    user_prior: str | None = field(
        default=None,
        metadata={"help": "folder of the population that users start from; the bundle's default preference"},
    )
    keep_texts: bool = field(
        default=False, metadata={"help": "store the texts that users judge, and not only what rewards say of them"}
    )
    metrics: bool = field(default=True, metadata={"help": "count for Prometheus, at /metrics"})
    log_format: Literal["text", "json"] = field(
        default="text", metadata={"help": "of the log on stderr, a line a request"}
    )
    log_prompts: bool = field(default=False, metadata={"help": "write what was asked into the log"})
    request_timeout: float | None = field(
        default=None, metadata={"help": "seconds that a request may take, waiting included; no limit"}
    )
    max_batch_size: int = field(default=16, metadata={"help": "answers decoded together"})
    max_waiting: int = field(default=128, metadata={"help": "answers that may wait; beyond it, 429"})
    max_total_tokens: int | None = field(
        default=None,
        metadata={"help": "positions of the key-value cache, padding included; what fits half of the free memory"},
    )
    max_prefill_tokens: int = field(
        default=1_024, metadata={"help": "prompt tokens processed between two decode steps"}
    )
    prefix_tokens: int | None = field(
        default=None,
        metadata={"help": "positions kept of earlier prompts, for others that begin alike; a quarter of the cache"},
    )
    compile_decode: bool = field(
        default=False,
        metadata={"help": "decode with torch.compile and CUDA graphs; CUDA GPUs only, not yet tested on one"},
    )
    max_new_tokens: int = field(default=1024, metadata={"help": "largest max_tokens of a request"})
    max_choices: int = field(default=64, metadata={"help": "largest number of answers of a request (prompts x n)"})
    max_body_bytes: int = field(default=2**20, metadata={"help": "largest request body"})
    drain_seconds: float = field(default=30.0, metadata={"help": "on SIGTERM, time for accepted requests to finish"})

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"port: must be from 0 to 65535, found {self.port}")
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InputError(f"dtype: valid are auto, float32, bfloat16, float16, found '{self.dtype}'")
        if not 0 <= self.drain_seconds < 86_400:
            raise InputError(f"drain_seconds: must be at least 0 and below a day, found {self.drain_seconds}")
        if self.log_format not in ("text", "json"):
            raise InputError(f"log_format: valid are text, json, found '{self.log_format}'")
        if self.request_timeout is not None and not 0 < self.request_timeout < 86_400:
            raise InputError(f"request_timeout: must be above 0 and below a day, found {self.request_timeout}")
        for origin in self.cors_origins or ():
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise InputError(f"cors_origins: must be like https://example.org, or * for all, found '{origin}'")
        if self.policy is None and not self.allow_anyone and not _is_own(self.host):
            raise InputError(
                f"host: on '{self.host}' everybody on the network could use the server; give a policy with keys (policy), or say that this is fine (allow_anyone)"
            )
        if self.prefix_tokens is not None and self.prefix_tokens < 0:
            raise InputError(f"prefix_tokens: must be at least 0, found {self.prefix_tokens}")
        for name in [f.name for f in fields(self) if f.name.startswith("max_")]:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1, found {getattr(self, name)}")


def _is_own(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(bundle: str | Path, config: ServeConfig | None = None, **settings: Any) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C: refuse new work, finish what was accepted, abort what takes longer than `drain_seconds`.

    Args:
        bundle (`str` or `Path`): the bundle.
        config (`ServeConfig`, *optional*): the settings;
        settings: or single ones, by the names of its fields.

    Raises:
        InputError: a setting is wrong, the address is taken, the bundle or its base model cannot be loaded, or fastapi is not installed.
    """
    if config is not None and settings:
        raise TypeError("give either a config or single settings")
    config = ServeConfig(**settings) if config is None else config
    from moalign.bundle import read_manifest

    # What a glance at the folders can tell is told before anything listens.
    manifest = read_manifest(bundle)
    if config.gate is not None:
        _glance_at_gate(config.gate, manifest.objectives)
    try:
        import uvicorn
    except ModuleNotFoundError as missing:
        raise InputError("serving needs the package 'uvicorn': pip install 'moalign[serve]'") from missing
    from moalign.serving.access import Access
    from moalign.serving.access.host import OWN_NAMES
    from moalign.serving.api import create_app
    from moalign.serving.choose import front_of
    from moalign.serving.observe.logs import logging_to_stderr
    from moalign.serving.rewards import heads_of
    from moalign.serving.service import Limits, Service
    from moalign.serving.users.opened import glance

    access = Access(config.policy)
    access.check_objectives(manifest.objectives)
    glance(config.database, config.user_prior, manifest.objectives)

    def load() -> "SteerablePolicy":
        from moalign.policy import SteerablePolicy

        return SteerablePolicy.from_pretrained(bundle, base=config.base, device=config.device, dtype=config.dtype)

    def load_gate(policy: "SteerablePolicy") -> "PreferenceGate":
        from moalign.preference_gate import PreferenceGate
        from reward_heads.normalizer import Normalizer

        assert config.gate is not None
        # On the CPU: a prompt or two per request, beside a device that is busy decoding.
        kind = policy.default_preference.kind
        units = None if policy.normalizer is None else Normalizer.from_json(policy.normalizer)
        gate = PreferenceGate.from_pretrained(config.gate, policy.objectives, kind=kind, device="cpu", normalizer=units)
        gate.preferences(["Hello"])  # loads the encoder, which otherwise waits for the first request
        return gate

    drain_seconds = config.drain_seconds

    class Server(uvicorn.Server):
        """uvicorn, which on a signal also drains the engine, and returns to its caller instead of killing the process."""

        def __init__(self, uvicorn_config: uvicorn.Config, service: Service) -> None:
            super().__init__(uvicorn_config)
            self.service = service

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.announcing = asyncio.create_task(self._announce())

        async def _announce(self) -> None:
            assert self.service.loading is not None  # the app's lifespan has begun
            await self.service.loading
            if self.service.failure is not None:
                self.should_exit = True
            elif self.service.ready:
                sys.stdout.write(_greeting(self.service, _url(listening)))
                sys.stdout.flush()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit and sig == signal.SIGINT:
                self.force_exit = True
            self.should_exit = True
            self.service.drain(drain_seconds)

    app = create_app(
        load,
        model_name=config.served_model_name or Path(bundle).resolve().name,
        limits=Limits(config.max_new_tokens, config.max_choices, max_body_bytes=config.max_body_bytes),
        gate=None if config.gate is None else load_gate,
        front=front_of(bundle),
        access=access,
        hosts=(*OWN_NAMES, config.host) if access.open and not config.allow_anyone else None,
        heads=heads_of(bundle, config.reward_heads),
        database=config.database,
        user_prior=config.user_prior,
        keep_texts=config.keep_texts,
        cors_origins=config.cors_origins or (),
        metrics=config.metrics,
        request_timeout=config.request_timeout,
        log_prompts=config.log_prompts,
        max_batch_size=config.max_batch_size,
        max_waiting=config.max_waiting,
        max_total_tokens=config.max_total_tokens,
        max_prefill_tokens=config.max_prefill_tokens,
        prefix_tokens=config.prefix_tokens,
        compile_decode=config.compile_decode,
    )
    with logging_to_stderr(config.log_format), _listen(config.host, config.port) as listening:
        sys.stdout.write(f"Loading {bundle} ...\n")
        sys.stdout.flush()
        # The engine ends what it cannot finish after drain_seconds; uvicorn waits a little longer, so that clients still get the error.
        patience = int(config.drain_seconds) + 5
        settings_of_uvicorn = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=patience,
        )
        server = Server(settings_of_uvicorn, app.state.service)
        server.run(sockets=[listening])
    if server.service.failure is not None:
        raise server.service.failure


def _glance_at_gate(folder: str, objectives: Sequence[str]) -> None:
    from moalign.preference_gate import check_same_objectives
    from reward_heads.gating.saved import read_gate

    try:
        check_same_objectives(read_gate(folder)["objectives"], objectives)
    except InputError as error:
        raise InputError(f"gate: {error}") from error


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"cannot listen on host '{host}', port {port}: {error.strerror or error}") from error
    with listening:
        # asyncio sets this only on sockets that name their protocol; without it a body waits up to 40 ms behind its headers.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _greeting(service: Any, url: str) -> str:
    policy = service.running_engine().policy
    names = policy.objectives
    share = {names[0]: 0.7, names[1]: 0.3} if len(names) > 1 else {names[0]: 1.0}
    talks = bool(getattr(policy.tokenizer, "chat_template", None))
    asked = {"messages": [{"role": "user", "content": "Hello"}]} if talks else {"prompt": "Hello"}
    body = json.dumps({**asked, "max_tokens": 40, "preference": share})
    chosen = " Requests without a preference get the gate's choice." if service.gate is not None else ""
    key = "" if service.access.open else "-H 'Authorization: Bearer YOUR_KEY' "
    return (
        f"Serving '{service.model_name}' on {url}/v1, objectives: {', '.join(names)}.{chosen} Open {url} in a browser, or try:\n\n"
        f"curl {url}/v1/{'chat/completions' if talks else 'completions'} {key}-H 'Content-Type: application/json' -d {shlex.quote(body)}\n\n"
    )
