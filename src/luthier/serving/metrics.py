"""What the service counts, for Prometheus. Every service has a registry of its own.

Labels are names of what is served and words of this house, never anything that a client wrote.
"""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from luthier.serving.cache import AnswerCache
from luthier.serving.engines.engine import EngineStatus
from luthier.serving.protocol import Interaction

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """Counts answers as they end; engine and cache are asked when somebody looks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "luthier"}
        self._answers = Counter("answers", "Requests, by how they ended.", ["model", "outcome"], **made)
        self._tokens = Counter("tokens", "Tokens of prompts and answers.", ["model", "kind"], **made)
        self._first = Histogram(
            "first_token_seconds", "Until the first token.", ["model"], buckets=_SECONDS, **made
        )
        self._whole = Histogram(
            "answer_seconds", "Until the last token.", ["model"], buckets=_SECONDS, **made
        )
        self._rate = Histogram(
            "tokens_per_second", "Of one answer, after its first token.", ["model"], buckets=_RATES, **made
        )
        self._decisions = Counter("router_decisions", "What the router said.", ["word", "model"], **made)
        self._refusals = Counter("refusals", "What was not answered, and why.", ["reason"], **made)
        self._flags = Counter("flags", "What was noted about answers.", ["flag"], **made)
        self._http = Counter("http_responses", "By route and status.", ["route", "status"], **made)

    def watch(self, engine: Callable[[], EngineStatus], cache: AnswerCache) -> None:
        """Show these two as well."""
        self.registry.register(_Watched(engine, cache))

    def answered(self, interaction: Interaction, model: str) -> None:
        """One request ended. `model`: as `/v1/models` shows it."""
        usage, first = interaction.usage, interaction.first_token_seconds
        self._answers.labels(model, interaction.outcome).inc()
        self._tokens.labels(model, "prompt").inc(usage.num_prompt)
        self._tokens.labels(model, "generated").inc(usage.num_generated)
        self._whole.labels(model).observe(interaction.total_seconds)
        if first is not None:
            self._first.labels(model).observe(first)
            if usage.num_generated > 1 and interaction.total_seconds > first:
                rate = (usage.num_generated - 1) / (interaction.total_seconds - first)
                self._rate.labels(model).observe(rate)
        if interaction.decision is not None:
            self._decisions.labels(interaction.decision["word"], model).inc()

    def embedded(self, model: str, num_tokens: int) -> None:
        """Texts became vectors."""
        self._tokens.labels(model, "embedded").inc(num_tokens)

    def refused(self, reason: str) -> None:
        """A request was turned away."""
        self._refusals.labels(reason).inc()

    def flagged(self, flag: str) -> None:
        """Something was noted about an answer."""
        self._flags.labels(flag).inc()

    def responded(self, route: str, status: int) -> None:
        """An HTTP response began."""
        self._http.labels(route, str(status)).inc()

    def page(self) -> bytes:
        """All of it in Prometheus' text form."""
        return generate_latest(self.registry)


class _Watched:
    """Engine and cache as Prometheus reads them."""

    def __init__(self, engine: Callable[[], EngineStatus], cache: AnswerCache) -> None:
        self._engine, self._cache = engine, cache

    def collect(self) -> Iterator[Metric]:
        status, cache = self._engine(), self._cache
        yield GaugeMetricFamily("luthier_engine_active", "Answers that run.", status.active)
        yield GaugeMetricFamily("luthier_engine_queued", "Answers that wait.", status.queued)
        yield GaugeMetricFamily("luthier_engine_queue_limit", "How many may wait.", status.max_queue)
        for name, value in sorted(status.counters.items()):
            yield CounterMetricFamily(f"luthier_engine_{name}", f"{name} since the start.", value)
        yield CounterMetricFamily("luthier_cache_hits", "Answers from the cache.", cache.counts.hits)
        yield CounterMetricFamily("luthier_cache_misses", "Looked for in vain.", cache.counts.misses)
        yield CounterMetricFamily("luthier_cache_evicted", "Answers that made room.", cache.counts.evicted)
        yield GaugeMetricFamily("luthier_cache_bytes", "What the answers take.", cache.num_bytes)
