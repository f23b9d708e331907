"""Numbers about the server for Prometheus. No label has more values than the code has names for: never a key, a user, a weight or a path that a client made up."""

from collections.abc import Callable, Iterator
from typing import Any

from frontier.errors import InputError
from moalign.serving.observe.record import Record

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)

# Field of `EngineStats` to name, kind and meaning.
ENGINE = {
    "running": ("moalign_running_answers", "gauge", "Answers in the batch."),
    "waiting": ("moalign_waiting_answers", "gauge", "Answers in the queue."),
    "cache_tokens": ("moalign_cache_tokens", "gauge", "Positions that the key-value cache holds."),
    "steps": ("moalign_decode_steps", "counter", "Decode steps."),
    "tokens": ("moalign_generated_tokens", "counter", "Tokens generated, also for clients that went away."),
    "cache_bytes": ("moalign_cache_bytes", "gauge", "Memory of the key-value cache."),
    "prefix_tokens": ("moalign_prefix_tokens", "gauge", "Positions remembered of earlier prompts."),
    "reused_tokens": ("moalign_reused_tokens", "counter", "Prompt tokens that were remembered and not computed."),
    "accepted": ("moalign_accepted_answers", "counter", "Answers that the engine took into its queue."),
    "restarts": ("moalign_engine_restarts", "counter", "Times that the engine's worker was started again."),
}


class Metrics:
    """The numbers of one app, in a registry of its own.

    Args:
        engine (`Callable`): the engine, or `None` while it loads.
        ready (`Callable`): whether requests are taken.

    Raises:
        InputError: prometheus_client is not installed.
    """

    def __init__(self, engine: Callable[[], Any], ready: Callable[[], bool]) -> None:
        try:
            import prometheus_client as prometheus
            from prometheus_client.exposition import choose_encoder
        except ModuleNotFoundError as missing:
            raise InputError(
                "metrics need the package 'prometheus_client': pip install 'moalign[serve]', or set metrics: false"
            ) from missing
        self._engine = engine
        self._ready = ready
        self._choose_encoder = choose_encoder
        self.registry = prometheus.CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        counter, histogram = prometheus.Counter, prometheus.Histogram
        self._requests = counter("moalign_requests", "Requests answered.", ["endpoint", "status"], **own)
        self._seconds = histogram(
            "moalign_request_seconds", "Time of a whole request.", ["endpoint"], buckets=LATENCY, **own
        )
        self._first = histogram(
            "moalign_first_token_seconds", "From the request's coming to its first token.", buckets=LATENCY, **own
        )
        self._per_token = histogram(
            "moalign_token_seconds", "From one token to the next, the mean of an answer.", buckets=PER_TOKEN, **own
        )
        self._prompt_tokens = counter("moalign_prompt_tokens", "Prompt tokens.", **own)
        self._completion_tokens = counter("moalign_completion_tokens", "Tokens of answers.", **own)
        self._preferences = counter("moalign_preferences", "Requests by who chose their preference.", ["source"], **own)
        self._refused = counter("moalign_rejections", "Requests that did not succeed, by reason.", ["reason"], **own)
        self._running = prometheus.Gauge("moalign_open_requests", "Requests being answered.", **own)
        self.registry.register(_EngineCollector(engine, ready))

    def begin(self) -> None:
        """A request came."""
        self._running.inc()

    def end(self, record: Record) -> None:
        """A request was answered, or given up."""
        self._running.dec()
        self._requests.labels(record.endpoint, str(record.status)).inc()
        self._seconds.labels(record.endpoint).observe(record.seconds)
        if record.code is not None:
            self._refused.labels(record.code).inc()
        if record.source is not None:
            self._preferences.labels(record.source).inc()
        if record.first_token_seconds is not None:
            self._first.observe(record.first_token_seconds)
        for seconds in record.token_seconds:
            self._per_token.observe(seconds)
        self._prompt_tokens.inc(record.prompt_tokens or 0)
        self._completion_tokens.inc(record.completion_tokens or 0)

    def page(self, accept: str) -> tuple[bytes, str]:
        """The text of `/metrics` and its media type, in the form that the reader accepts."""
        encode, media_type = self._choose_encoder(accept)
        return encode(self.registry), media_type


class _EngineCollector:
    """Reads the engine whenever somebody looks."""

    def __init__(self, engine: Callable[[], Any], ready: Callable[[], bool]) -> None:
        self._engine = engine
        self._ready = ready

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("moalign_ready", "1 if requests are taken.", value=float(self._ready()))
        engine = self._engine()
        if engine is None:
            return
        stats = engine.stats()
        kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
        for field, (name, kind, meaning) in ENGINE.items():
            value = getattr(stats, field, None)
            if value is not None:
                yield kinds[kind](name, meaning, value=float(value))
        yield GaugeMetricFamily(
            "moalign_cache_capacity_tokens", "Positions that the cache may hold.", value=float(engine.max_total_tokens)
        )
