"""The OpenAI-compatible API over one steerable policy: every request may bring its own preference."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

try:
    from fastapi import FastAPI
    from starlette.middleware.cors import CORSMiddleware
except ModuleNotFoundError as missing:
    from frontier.errors import InputError

    raise InputError(f"serving needs the package '{missing.name}': pip install 'moalign[serve]'") from missing

from frontier.front import ParetoFront
from moalign.policy import SteerablePolicy
from moalign.preference_gate import PreferenceGate
from moalign.serving.access import Access
from moalign.serving.access.guard import Guard
from moalign.serving.access.host import HostGuard
from moalign.serving.body_guard import BodyGuard
from moalign.serving.documented import describe
from moalign.serving.errors import add_error_handlers
from moalign.serving.observe.metrics import Metrics
from moalign.serving.observe.middleware import Observer
from moalign.serving.rewards import RewardHeads
from moalign.serving.routes import front as measured_front
from moalign.serving.routes import generation, health, models, page, preferences, rewards
from moalign.serving.routes import metrics as metrics_page
from moalign.serving.routes import users as users_of_callers
from moalign.serving.service import Limits, Service
from moalign.serving.users.database import IN_MEMORY
from moalign.serving.users.opened import users_in

# A family of endpoints is a file in `routes/` and a name here.
ROUTES = (
    health,
    models,
    generation,
    preferences,
    measured_front,
    rewards,
    users_of_callers,
    metrics_page,
    page,
)
# What a page of another origin may send and read. No cookies: keys travel in a header.
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "X-Request-Id"],
    "expose_headers": ["X-Request-Id", "Retry-After"],
}


def create_app(
    policy: SteerablePolicy | Callable[[], SteerablePolicy],
    *,
    model_name: str,
    limits: Limits | None = None,
    gate: Callable[[SteerablePolicy], PreferenceGate] | None = None,
    front: ParetoFront | None = None,
    heads: Callable[[SteerablePolicy], RewardHeads | None] | None = None,
    database: str | None = None,
    user_prior: str | None = None,
    keep_texts: bool = False,
    access: Access | None = None,
    hosts: Sequence[str] | None = None,
    cors_origins: Sequence[str] = (),
    metrics: bool = True,
    request_timeout: float | None = None,
    log_prompts: bool = False,
    **engine_options: Any,
) -> FastAPI:
    """The ASGI application; `app.state.service` is the `Service` behind it.

    Args:
        policy (`SteerablePolicy` or `Callable`): the policy, or a function that loads it while the server already answers `/health`.
        model_name (`str`): what clients call it.
        limits (`Limits`, *optional*): what one request may ask for.
        gate (`Callable`, *optional*): makes, from the loaded policy, the source of preferences for requests that bring none.
        front (`ParetoFront`, *optional*): the bundle's measured front, on which clients may find their preference.
        heads (`Callable`, *optional*): makes, from the loaded policy, the reward heads that score texts.
        database (`str`, *optional*): where users' feedback is kept: a file, `sqlite:///FILE` or `postgresql://...`; by default in memory, until the server stops.
        user_prior (`str`, *optional*): folder of a population that `fit_objective_users` learned, from which users start; otherwise from the policy's default preference.
        keep_texts (`bool`, *optional*, defaults to `False`): whether the texts that users judged are stored; otherwise only differences of rewards.
        access (`Access`, *optional*): who may ask, by keys; by default everybody.
        hosts (`Sequence[str]`, *optional*): the only names and addresses, without ports, under which it answers; give `OWN_NAMES` where it is open on its own machine only.
        cors_origins (`Sequence[str]`, *optional*): web pages of these origins may ask too.
        metrics (`bool`, *optional*, defaults to `True`): count for Prometheus, at `/metrics`.
        request_timeout (`float`, *optional*): seconds that a request may take, waiting included, unless it asks for fewer.
        log_prompts (`bool`, *optional*, defaults to `False`): whether the log holds what was asked.
        engine_options: arguments of `Engine`.
    """
    service = Service(
        model_name,
        limits or Limits(),
        engine_options,
        gate,
        front,
        heads,
        users_in(database or IN_MEMORY, user_prior, keep_texts),
        access=access,
        request_timeout=request_timeout,
        log_prompts=log_prompts,
    )
    if metrics:
        service.metrics = Metrics(lambda: service.engine, lambda: service.ready)
    loader = (lambda: policy) if isinstance(policy, SteerablePolicy) else policy

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.loading = asyncio.create_task(service.load(loader))
        try:
            yield
        finally:
            await service.loading
            await service.close()

    app = FastAPI(title="moalign", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    # The last one added is the first to see a request: who asks is known before their body is read.
    app.add_middleware(BodyGuard, max_bytes=service.limits.max_body_bytes)
    app.add_middleware(Guard, access=service.access)
    if cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(cors_origins), **CORS)
    if hosts is not None:
        app.add_middleware(HostGuard, hosts=hosts)
    app.add_middleware(Observer, metrics=service.metrics)
    add_error_handlers(app)
    for family in ROUTES:
        family.add_routes(app, service)
    describe(app, service)
    return app
