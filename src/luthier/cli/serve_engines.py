"""What `luthier serve --engine` opens, and the forms of base and specialists that each engine runs.

GGUF files that are not given are written once and kept in the cache. Imports nothing heavy at its top.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli.common import console
from luthier.errors import ConfigError

if TYPE_CHECKING:
    from luthier.serving.engines.engine import Engine, Mounted

GGUF_TYPE = "f16"


@dataclass(frozen=True)
class EngineWanted:
    """`gguf`: of the base, for llamacpp; `upstream`: URL#MODEL, and the variable of its key, for openai.

    `threads` and `context_length`: None for what the engine takes by itself.
    """

    kind: str
    base_place: str
    base_hash: str
    max_batch: int
    max_queue: int
    gguf: Path | None = None
    upstream: str | None = None
    upstream_key: str | None = None
    threads: int | None = None
    context_length: int | None = None


def opener(wanted: EngineWanted) -> "Callable[[], Awaitable[Engine]] | None":
    """What opens the engine; None for torch, which the server opens by itself. Raises ConfigError."""
    given: dict[str, dict[str, object]] = {
        "llamacpp": {"--gguf": wanted.gguf},
        "openai": {"--upstream": wanted.upstream, "--upstream-key": wanted.upstream_key},
    }
    for kind, options in given.items():
        for option, value in options.items():
            if value is not None and kind != wanted.kind:
                raise ConfigError(f"{option} is for --engine {kind}, and the engine is {wanted.kind}")
    if wanted.kind == "openai" and wanted.threads is not None:
        raise ConfigError("--threads is for --engine torch and llamacpp; with openai the upstream computes")
    if wanted.kind == "torch":
        if wanted.context_length is not None:
            raise ConfigError("--context-length is for --engine llamacpp and openai; torch takes the base's")
        return None
    ways = {"llamacpp": _llamacpp, "openai": _upstream}
    if wanted.kind not in ways:
        raise ConfigError(f"--engine: expected one of torch, {', '.join(ways)}; got {wanted.kind!r}")
    if wanted.kind == "openai" and wanted.upstream is None:
        raise ConfigError("--engine openai needs --upstream URL#MODEL, such as http://localhost:8001/v1#base")
    return lambda: ways[wanted.kind](wanted)


async def _llamacpp(wanted: EngineWanted) -> "Engine":
    import asyncio

    from luthier.models.gguf import llama_cpp
    from luthier.serving.engines.llamacpp import open_llamacpp_engine
    from luthier.serving.engines.reformed import Reformed

    llama_cpp()  # where it is missing, before anything is written
    gguf = wanted.gguf
    if gguf is None:
        gguf = await asyncio.to_thread(base_gguf, wanted.base_place, wanted.base_hash)
    engine = await open_llamacpp_engine(
        gguf,
        context_length=wanted.context_length or 0,
        max_batch=wanted.max_batch,
        num_threads=wanted.threads,
        max_queue=wanted.max_queue,
    )
    return Reformed(engine, lambda specialist: lora_gguf(specialist, wanted.base_place))


def base_gguf(base_place: str, base_hash: str) -> Path:
    """The base as a GGUF file in the cache, written where it is not there."""
    from luthier.export.gguf.write import write_gguf
    from luthier.files import cache_folder
    from luthier.models.load import find_model

    path = cache_folder("gguf") / f"{_plain(base_hash)}.{GGUF_TYPE}.gguf"
    if not path.exists():
        console(stderr=True).print(f"writing the base as GGUF ({GGUF_TYPE}) to {path}", soft_wrap=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(find_model(base_place).base, path, GGUF_TYPE)
    return path


def lora_gguf(specialist: "Mounted", base_place: str) -> Path | None:
    """A PEFT folder as a LoRA-GGUF in the cache. Raises ExportError for what llama.cpp cannot lay over a base."""
    from luthier.export.gguf.lora import write_gguf_lora
    from luthier.files import cache_folder
    from luthier.hashing import hash_file
    from luthier.models.load import find_model

    if specialist.adapter is None:
        return None
    folder = Path(specialist.adapter)
    parts = [hash_file(folder / name) for name in ("adapter_config.json", "adapter_model.safetensors")]
    path = cache_folder("gguf") / f"{'-'.join(_plain(part)[:24] for part in parts)}.lora.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_gguf_lora(folder, find_model(base_place).base, path)
    return path


def _plain(tagged: str) -> str:
    return tagged.rpartition(":")[2]


async def _upstream(wanted: EngineWanted) -> "Engine":
    from transformers import AutoConfig

    from luthier.models.endpoint import parse_endpoint
    from luthier.models.load import find_model, load_tokenizer
    from luthier.serving.engines.openai import open_openai_engine
    from luthier.serving.engines.reformed import Reformed

    found = find_model(wanted.base_place)
    length = wanted.context_length
    if length is None:
        length = int(getattr(AutoConfig.from_pretrained(found.base), "max_position_embeddings", 0) or 4096)
    endpoint = parse_endpoint(
        str(wanted.upstream), api_key_variable=wanted.upstream_key, max_concurrency=wanted.max_batch
    )
    engine = await open_openai_engine(
        endpoint, load_tokenizer(found.tokenizer_place), context_length=length, max_queue=wanted.max_queue
    )
    return Reformed(engine, lambda specialist: specialist.name.partition("@")[0])
