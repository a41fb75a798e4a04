"""A whole server, from what a person wants to a port that answers, and to its orderly end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.chat.render import Renderer
from luthier.errors import ConfigError
from luthier.models.load import find_model, load_tokenizer
from luthier.private import redact
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore
from luthier.serving.admin import Admin, follow_promotions
from luthier.serving.admissions import KeyAdmissions
from luthier.serving.asking import Asker, ServiceLimits
from luthier.serving.cache import AnswerCache
from luthier.serving.choosing import Chooser
from luthier.serving.engines.engine import Engine
from luthier.serving.gateway.app import make_app
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.door import LOOPBACK
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.gateway.logs import answer_logger, log_response, log_to
from luthier.serving.gateway.server import Server, bound_socket, check_bind, is_loopback
from luthier.serving.guards import load_guards
from luthier.serving.keys import KeyRing
from luthier.serving.masks import json_mask
from luthier.serving.metrics import Metrics
from luthier.serving.recorder import SqliteRecorder
from luthier.serving.router import load_router
from luthier.serving.served import serve_base
from luthier.serving.service import Service
from luthier.serving.start import mount_all
from luthier.serving.traffic import Traffic


@dataclass(frozen=True)
class Wanted:
    """What is to be served and how. None: not wanted. `base_place`: a folder, an embedded name or a hub id."""

    engine: str
    base_name: str
    base_place: str
    base_hash: str
    router: Path | None
    guards: Path | None
    host: str
    port: int
    keys: Path | None
    record: Path | None
    traffic: Path | None
    follow_promotions: bool
    max_batch: int
    max_queue: int
    max_tokens: int
    cache_bytes: int
    dtype: str
    device: str
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    grace_seconds: int
    log_prompts: bool


Say = Callable[[str], None]
Started = Callable[[int, Sequence[str]], None]


def launch(
    wanted: Wanted,
    store: SpecialistStore | None,
    specialists: Sequence[Specialist],
    *,
    warn: Say,
    started: Started,
) -> None:
    """Serve until it is told to end (SIGINT, SIGTERM). `started` is told the port and what may be asked.

    Raises LuthierError where it cannot begin.
    """
    check_bind(wanted.host, has_keys=wanted.keys is not None)
    open_engine = _engine_opener(wanted)
    keys = KeyRing.load(wanted.keys) if wanted.keys is not None else None
    place = bound_socket(wanted.host, wanted.port)
    with contextlib.closing(place):
        asyncio.run(_serve(wanted, store, specialists, keys, open_engine, place, warn, started))


async def _serve(wanted, store, specialists, keys, open_engine, place, warn, started) -> None:  # type: ignore[no-untyped-def]
    engine = await open_engine()
