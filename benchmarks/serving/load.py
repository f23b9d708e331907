"""Ask a server as many clients do: each waits for its answer before it asks again (closed loop), or all ask when they please (open loop)."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx

from benchmarks.serving.models import NAMES
from benchmarks.serving.server import Server

# Of prompts and answers, in tokens; answers take 32 on average.
PROMPT = (32, 64)
ANSWER = (16, 48)
SAME = {"helpful": 0.5, "brief": 0.3, "warm": 0.2}


@dataclass(frozen=True)
class Ask:
    """One request: a prompt of so many words, which are tokens, a length and a trade-off."""

    prompt: str
    max_tokens: int
    preference: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        text (`str`): of the answer.
        tokens (`int`): in it.
        asked (`float`), first (`float`), last (`float`): seconds when it was sent, and when its first and last piece came.
    """

    text: str
    tokens: int
    asked: float
    first: float
    last: float

    @property
    def ttft(self) -> float:
        """Seconds to the first token; meant for streams."""
        return self.first - self.asked

    @property
    def tpot(self) -> float:
        """Seconds for each further token; meant for streams."""
        return (self.last - self.first) / max(1, self.tokens - 1)


def workload(
    count: int,
    seed: int,
    *,
    mixed: bool,
    vocabulary: int,
    prompt: tuple[int, int] = PROMPT,
    answer: tuple[int, int] = ANSWER,
) -> list[Ask]:
    """Random requests. The same seed gives the same prompts and lengths with all weights different (`mixed`) and all the same; no two prompts begin alike."""
    numbers, weights = random.Random(seed), random.Random(-seed - 1)
    asks = []
    for _ in range(count):
        words = [f"w{numbers.randrange(1, vocabulary)}" for _ in range(numbers.randint(*prompt))]
        drawn = [weights.expovariate(1.0) for _ in NAMES]  # uniform on the simplex once divided by their sum
        preference = {name: one / sum(drawn) for name, one in zip(NAMES, drawn, strict=True)}
        asks.append(Ask(" ".join(words), numbers.randint(*answer), preference if mixed else SAME))
    return asks


def closed_loop(
    server: Server, asks: Sequence[Ask], clients: int, stream: bool = False, extra: bool = True
) -> list[Answer]:
    """Answers in the order of `asks`: each client takes the next request when it has its answer.

    Args:
        server (`Server`): who is asked.
        asks (`Sequence[Ask]`): in order.
        clients (`int`): requests in flight.
        stream (`bool`, *optional*, defaults to `False`): take the answers piece by piece, and note when they come.
        extra (`bool`, *optional*, defaults to `True`): send the preference; other servers do not know it.
    """
    answers: list[Any] = [None] * len(asks)

    async def work(http: httpx.AsyncClient, left: list[int]) -> None:
        while left:
            i = left.pop()
            answers[i] = await _ask(http, server, asks[i], stream, extra)

    async def everybody() -> None:
        left = list(range(len(asks)))[::-1]
        async with _connections() as http:
            await asyncio.gather(*(work(http, left) for _ in range(clients)))

    asyncio.run(everybody())
    return answers


def open_loop(server: Server, asks: Sequence[Ask], rate: float, seed: int) -> list[Answer]:
    """Streamed answers to requests that arrive at random, `rate` a second (a Poisson process), however many are unanswered."""
    times, now = [], 0.0
    draws = random.Random(seed)
    for _ in asks:
        now += draws.expovariate(rate)
        times.append(now)

    async def later(http: httpx.AsyncClient, ask: Ask, seconds: float) -> Answer:
        await asyncio.sleep(seconds)
        return await _ask(http, server, ask, True, True)

    async def everybody() -> list[Answer]:
        async with _connections() as http:
            return await asyncio.gather(*(later(http, a, t) for a, t in zip(asks, times, strict=True)))

    return asyncio.run(everybody())


def _connections() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=120, verify=False, trust_env=False, limits=httpx.Limits(max_connections=None))


async def _ask(http: httpx.AsyncClient, server: Server, ask: Ask, stream: bool, extra: bool) -> Answer:
    body: dict[str, Any] = {
        "model": server.model,
        "prompt": ask.prompt,
        "max_tokens": ask.max_tokens,
        "temperature": 0,
        **({"preference": {"weights": ask.preference}} if extra else {}),
    }
    url = f"{server.url}/v1/completions"
    asked = perf_counter()
    if not stream:
        response = await http.post(url, json=body)
        if response.status_code != 200:
            raise RuntimeError(f"{server.url} answered {response.status_code}: {response.text[:300]}")
        found = response.json()
        now = perf_counter()
        return _checked(ask, Answer(found["choices"][0]["text"], found["usage"]["completion_tokens"], asked, now, now))
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    text, tokens, first, last = "", 0, 0.0, 0.0
    async with http.stream("POST", url, json=body) as response:
        if response.status_code != 200:
            raise RuntimeError(f"{server.url} answered {response.status_code}: {(await response.aread())[:300]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(f"{server.url} failed: {event['error']}")
            if event["choices"]:
                text += event["choices"][0]["text"]
                last = perf_counter()
                first = first or last
            else:
                tokens = event["usage"]["completion_tokens"]
    return _checked(ask, Answer(text, tokens, asked, first, last))


def _checked(ask: Ask, answer: Answer) -> Answer:
    """Rates of tokens compare nothing where answers end early."""
    if answer.tokens != ask.max_tokens:
        raise RuntimeError(f"an answer has {answer.tokens} tokens, {ask.max_tokens} were asked for")
    return answer
