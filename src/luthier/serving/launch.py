"""A whole server, from what a person wants to a port that answers, and to its orderly end."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.chat.render import Renderer
from luthier.models.load import find_model, load_tokenizer
from luthier.private import mask
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import SpecialistStore
from luthier.serving.admin import Admin, follow_promotions
from luthier.serving.admissions import KeyAdmissions
from luthier.serving.asking import Asker, ServiceLimits, schema_mask
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
from luthier.serving.metrics import Metrics
from luthier.serving.recorder import SqliteRecorder
from luthier.serving.router import load_router
from luthier.serving.router.features import Embed
from luthier.serving.served import serve_base
from luthier.serving.service import Service
from luthier.serving.start import mount_all
from luthier.serving.tools import load_tools
from luthier.serving.traffic import Traffic


@dataclass(frozen=True)
class Wanted:
    """What is to be served and how. None: not wanted. `base_place`: a folder, an embedded name or a hub id.

    `open_engine`: opens the engine; None: `torch`, in this process.
    """

    engine: str
    base_name: str
    base_place: str
    base_hash: str
    router: Path | None
    guards: Path | None
    tools: tuple[str, ...]
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
    num_threads: int | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    grace_seconds: int
    log_prompts: bool
    open_embedder: Callable[[], Embed] | None = None  # for a router that reads meaning
    open_engine: Callable[[], Awaitable[Engine]] | None = None


@dataclass(frozen=True)
class Told:
    """Who hears of the start: `warn` a sentence, `started` the port and the names that may be asked."""

    warn: Callable[[str], None]
    started: Callable[[int, Sequence[str]], None]


def launch(
    wanted: Wanted, store: SpecialistStore | None, specialists: Sequence[Specialist], told: Told
) -> None:
    """Serve until it is told to end (SIGINT, SIGTERM). Raises LuthierError where it cannot begin."""
    check_bind(wanted.host, has_keys=wanted.keys is not None)
    log_to()
    with contextlib.closing(bound_socket(wanted.host, wanted.port)) as place:
        asyncio.run(_serve(wanted, store, specialists, told, place))


async def _serve(
    wanted: Wanted,
    store: SpecialistStore | None,
    specialists: Sequence[Specialist],
    told: Told,
    place: socket.socket,
) -> None:
    gateway = await open_gateway(wanted, store, specialists, told.warn)
    hosts = None
    if is_loopback(wanted.host) or wanted.hosts:
        hosts = {*LOOPBACK, wanted.host, *wanted.hosts}
    ring = gateway.admissions.ring if gateway.admissions else None
    app = make_app(gateway, hosts=hosts, origins=wanted.origins, keys=ring, log=log_response)

    def started() -> None:
        told.started(place.getsockname()[1], gateway.service.chooser.names())

    await Server(app, gateway, started=started).serve(sockets=[place])


async def open_gateway(
    wanted: Wanted,
    store: SpecialistStore | None,
    specialists: Sequence[Specialist],
    warn: Callable[[str], None],
) -> Gateway:
    """Everything but the port. Raises LuthierError."""
    ring = KeyRing.load(wanted.keys) if wanted.keys is not None else None
    router = load_router(wanted.router, wanted.open_embedder) if wanted.router is not None else None
    guards = load_guards(wanted.guards) if wanted.guards is not None else None
    traffic = Traffic(wanted.traffic)
    engine = await (wanted.open_engine() if wanted.open_engine is not None else _open_torch(wanted))
    try:
        source = find_model(wanted.base_place)
        renderer = Renderer(load_tokenizer(source.tokenizer_place))
        base = serve_base(wanted.base_name, renderer, wanted.base_hash, source.num_bytes)
        roster, warnings = await mount_all(engine, base, store, specialists, traffic, wanted.engine)
        for warning in warnings:
            warn(warning)
        limits = ServiceLimits(max_tokens=wanted.max_tokens)
        admissions = KeyAdmissions(ring) if ring is not None else None
        service = Service(
            Chooser(roster, traffic, router),
            Asker(engine, AnswerCache(wanted.cache_bytes), schema_mask, limits),
            Metrics(),
            guards=guards,
            tools=load_tools(wanted.tools),
            admissions=admissions,
            recorder=SqliteRecorder(wanted.record, redact=mask) if wanted.record is not None else None,
            told=answer_logger(with_prompts=wanted.log_prompts),
        )
    except BaseException:
        await engine.close()
        raise
    admin = Admin(store, traffic, roster) if store is not None else None
    bounds = Bounds(grace_seconds=wanted.grace_seconds)
    gateway = Gateway(service, bounds, admin, admissions)
    if wanted.follow_promotions and store is not None and admin is not None:
        service.run_behind(follow_promotions(admin, store, traffic))
    return gateway


async def _open_torch(wanted: Wanted) -> Engine:
    from luthier.serving.engines.torch.engine import open_torch_engine

    return await open_torch_engine(
        wanted.base_place,
        dtype=wanted.dtype,
        device=wanted.device,
        num_threads=wanted.num_threads,
        max_batch=wanted.max_batch,
        max_queue=wanted.max_queue,
    )
