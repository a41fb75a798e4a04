"""A real server in a thread: uvicorn on a free port, over the embedded engine and a real store."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.models.load import load_model
from luthier.pipeline.identity import model_hash
from luthier.registry.specialists import SpecialistStore
from luthier.serving.admin import Admin
from luthier.serving.admissions import KeyAdmissions
from luthier.serving.asking import Asker, ServiceLimits, schema_mask
from luthier.serving.cache import AnswerCache
from luthier.serving.choosing import Chooser
from luthier.serving.engines.engine import Engine
from luthier.serving.engines.torch.engine import open_torch_engine
from luthier.serving.gateway.app import make_app
from luthier.serving.gateway.bounds import Bounds
from luthier.serving.gateway.door import LOOPBACK
from luthier.serving.gateway.gateway import Gateway
from luthier.serving.gateway.server import Server, bound_socket
from luthier.serving.keys import KeyRing
from luthier.serving.metrics import Metrics
from luthier.serving.protocol import Interaction
from luthier.serving.served import serve_base
from luthier.serving.service import Service
from luthier.serving.start import mount_all, wanted_specialists
from luthier.serving.traffic import Traffic


@dataclass
class Settings:
    """What a test changes."""

    bounds: Bounds = field(default_factory=lambda: Bounds(grace_seconds=2))
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    cache_bytes: int = 0
    keys: Path | None = None
    router: Any = None
    guards: Any = None
    tools: Any = ()
    recorder: Any = None
    make_mask: Any = schema_mask
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass
class Running:
    """A server that answers. `interactions`: what it told of, in order."""

    url: str
    port: int
    gateway: Gateway
    engine: Engine
    server: Server
    loop: asyncio.AbstractEventLoop
    interactions: list[Interaction]
    thread: threading.Thread

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the server did not end"


async def open_gateway(
    store: SpecialistStore, base: Path, settings: Settings, interactions: list[Interaction]
) -> tuple[Gateway, Engine]:
    """The whole service, as `luthier serve` puts it together."""
    engine = await open_torch_engine(str(base), dtype="float32", device="cpu", **settings.engine)
    loaded = load_model(str(base))
    served = serve_base("toy-base", loaded.renderer, model_hash(str(base)), loaded.source.num_bytes)
    traffic = Traffic()
    wanted = wanted_specialists(store, ())
    roster, _ = await mount_all(engine, served, store, wanted, traffic, "torch")
    ring = KeyRing.load(settings.keys) if settings.keys else None
    admissions = KeyAdmissions(ring) if ring else None
    service = Service(
        Chooser(roster, traffic, settings.router),
        Asker(engine, AnswerCache(settings.cache_bytes), settings.make_mask, settings.limits),
        Metrics(),
        guards=settings.guards,
        tools=settings.tools,
        admissions=admissions,
        recorder=settings.recorder,
        told=interactions.append,
    )
    admin = Admin(store, traffic, roster)
    return Gateway(service, settings.bounds, admin, admissions), engine


@contextmanager
def running(toy: tuple[SpecialistStore, Path], settings: Settings | None = None) -> Iterator[Running]:
    """A server until the block ends."""
    settings = settings or Settings()
    store, base = toy
    found: list[Running] = []
    ready, failed = threading.Event(), []

    async def run() -> None:
        interactions: list[Interaction] = []
        gateway, engine = await open_gateway(store, base, settings, interactions)
        ring = gateway.admissions.ring if gateway.admissions else None
        app = make_app(gateway, hosts=LOOPBACK, keys=ring)
        place = bound_socket("127.0.0.1", 0)
        server = Server(app, gateway, started=ready.set)
        port = place.getsockname()[1]
        loop = asyncio.get_running_loop()
        url = f"http://127.0.0.1:{port}"
        found.append(Running(url, port, gateway, engine, server, loop, interactions, thread))
        await server.serve(sockets=[place])

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(120)
    if failed:
        raise failed[0]
    try:
        yield found[0]
    finally:
        found[0].stop()
