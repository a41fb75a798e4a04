"""`luthier serve`: specialists on one base at one address, for what speaks OpenAI's or Ollama's API.

Imports nothing heavy at its top.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.common import console, quiet_libraries, warn

if TYPE_CHECKING:
    from luthier.registry.specialist import Specialist
    from luthier.registry.specialists import SpecialistStore
    from luthier.serving.launch import Wanted


def serve(
    specialists: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SPECIALIST]...", help="NAME or NAME@VERSION. Default: every one in production."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model under them. Default: the one they were trained on.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What computes: torch, llamacpp (GGUF, the fast way on a CPU) or openai.")
    ] = "torch",
    gguf: Annotated[
        Path | None, typer.Option(help="llamacpp: the base as GGUF. Default: written once, in f16.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Default: torch: the fastest number, tried at the start; llamacpp: torch's own."
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(help="openai: URL#MODEL of the server that has the base; specialists by their names."),
    ] = None,
    upstream_key: Annotated[
        str | None, typer.Option(help="openai: the environment variable that holds the server's key.")
    ] = None,
    context_length: Annotated[
        int | None,
        typer.Option(min=2, help="llamacpp, openai: tokens of prompt and answer. Default: the base's."),
    ] = None,
    router: Annotated[
        Path | None, typer.Option(help="A router's folder: the model `auto` chooses who answers.")
    ] = None,
    guards: Annotated[
        Path | None, typer.Option(help="A policy of guards (YAML). Default: no guards.")
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option("--tool", help="A tool that answers may call by a tag: calculator, ..."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="The file of keys (luthier keys new). Default: no key is needed.")
    ] = None,
    record: Annotated[Path, typer.Option(help="Where requests and answers are recorded.")] = Path(
        "interactions.sqlite"
    ),
    no_record: Annotated[bool, typer.Option("--no-record", help="Record nothing.")] = False,
    traffic: Annotated[
        Path | None, typer.Option(help="Where plans (shares, canaries) are kept. Default: beside the store.")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Follow promotions while it runs.")] = False,
    max_batch: Annotated[int, typer.Option(min=1, help="Answers at a time.")] = 16,
    max_queue: Annotated[int, typer.Option(min=0, help="How many may wait; more are sent away (429).")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 4096,
    cache_mb: Annotated[
        float, typer.Option(min=0, help="Room for answers of temperature 0; 0: none.")
    ] = 64.0,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name that this server may be called by.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A web page that may ask, such as http://localhost:3000.")
    ] = None,
    grace_seconds: Annotated[int, typer.Option(min=0, help="At the end, how long answers may go on.")] = 20,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write texts into the log too.")] = False,
) -> None:
    """Serve specialists on one base: OpenAI's API at /v1, Ollama's at /api."""
    from luthier.cli.serve_engines import EngineWanted, opener
    from luthier.data.semantic import open_embedder
    from luthier.serving.launch import Told, Wanted, launch

    quiet_libraries()
    store, found = _specialists(specialists or [])
    name, place, base_hash = _base(base, found)
    open_engine = opener(
        EngineWanted(
            engine,
            place,
            base_hash,
            max_batch,
            max_queue,
            gguf,
            upstream,
            upstream_key,
            threads,
            context_length,
        )
    )
    wanted = Wanted(
        engine=engine,
        base_name=name,
        base_place=place,
        base_hash=base_hash,
        router=router,
        guards=guards,
        tools=tuple(tools or ()),
        host=host,
        port=port,
        keys=keys,
        record=None if no_record else record,
        traffic=traffic or _beside(store),
        follow_promotions=reload,
        max_batch=max_batch,
        max_queue=max_queue,
        max_tokens=max_tokens,
        cache_bytes=int(cache_mb * 1e6),
        dtype=dtype,
        device=device,
        num_threads=threads,
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
        grace_seconds=grace_seconds,
        log_prompts=log_prompts,
        open_embedder=open_embedder,
        open_engine=open_engine,
    )
    launch(wanted, store, found, Told(warn, lambda port, names: _tell(wanted, port, names)))


def _specialists(refs: list[str]) -> "tuple[SpecialistStore | None, list[Specialist]]":
    from luthier.registry.specialists import default_store, has_default_store
    from luthier.serving.start import wanted_specialists

    store = default_store() if has_default_store() else None
    found = wanted_specialists(store, refs)
    if store is not None and not found and (names := store.names()):
        warn(
            f"no specialist is in production, so the base alone is served. Name one (luthier serve {names[0]}), or "
            f"promote it (luthier specialists promote {names[0]}@latest)"
        )
    return store, found


def _base(base: str | None, specialists: "Sequence[Specialist]") -> tuple[str, str, str]:
    """(what it is called, where it lies, its hash)."""
    from luthier.models.embedded import DEFAULT_MODEL, EMBEDDED
    from luthier.models.load import find_model
    from luthier.pipeline.identity import model_hash
    from luthier.serving.start import shared_base

    shared = shared_base(specialists)
    place = base or (str(shared["name"]) if shared else DEFAULT_MODEL)
    by_folder = {str(model.folder): name for name, model in EMBEDDED.items()}
    place = by_folder.get(place, place)
    folder = Path(find_model(place).base)
    name = place if place in EMBEDDED or not folder.is_dir() else folder.resolve().name
    return name, place, model_hash(place)


def _beside(store: "SpecialistStore | None") -> Path | None:
    if store is None or "://" in store.root:
        return None
    return Path(store.root) / "traffic.json"


def _tell(wanted: "Wanted", port: int, names: Sequence[str]) -> None:
    """Where it answers, and the three lines to paste."""
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    url = f"http://{host}:{port}"
    key = "YOUR-KEY" if wanted.keys else "none"
    header = f" -H 'Authorization: Bearer {key}'" if wanted.keys else ""
    model = names[1] if len(names) > 1 else names[0]
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    for line in (
        f"serving {', '.join(names)} at {url}",
        f"Open WebUI:      Connections > OpenAI API: URL {url}/v1, key {key}   (or Ollama API: URL {url})",
        f"editor plug-in:  provider OpenAI-compatible: base URL {url}/v1, key {key}, model {model}",
        f"curl:            curl {url}/v1/chat/completions{header} -d '{body}'",
    ):
        console().print(line, markup=False, soft_wrap=True)
