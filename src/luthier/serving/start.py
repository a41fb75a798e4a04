"""From a store to a service: which specialists, over which base, ready to be asked. Knows no engine and no HTTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from luthier.errors import ServingError
from luthier.registry.specialist import Specialist
from luthier.registry.specialists import PRODUCTION, SpecialistStore
from luthier.serving.engines.engine import Engine
from luthier.serving.roster import Roster
from luthier.serving.served import Served, serve_specialist
from luthier.serving.traffic import Traffic

_GOOD = ("identical", "equal within tolerance")
FORMS: Mapping[str, tuple[str, ...]] = {
    "torch": ("peft",),
    "llamacpp": ("gguf-lora",),
    "openai": ("vllm", "peft"),
}
"""Of each engine: the exported forms whose certificate speaks for what it runs."""


def wanted_specialists(store: SpecialistStore | None, refs: Sequence[str]) -> list[Specialist]:
    """The versions that are named; without names, every one in production. Raises RegistryError, ServingError."""
    if store is None:
        if refs:
            raise ServingError(f"{refs[0]}: there is no store of specialists here (LUTHIER_SPECIALISTS)")
        return []
    if refs:
        return [store.find(_production(store, ref)) for ref in refs]
    return [store.find(f"{name}@{PRODUCTION}") for name in store.names() if PRODUCTION in store.aliases(name)]


def shared_base(specialists: Sequence[Specialist]) -> Mapping[str, Any] | None:
    """The base that all of them were trained on; None where there are none.

    Raises ServingError that lists them where they differ, or where one has whole weights.
    """
    whole = [one.ref for one in specialists if one.manifest.get("form") != "adapter"]
    if whole:
        raise ServingError(
            f"{', '.join(whole)}: whole weights, which cannot be laid over a base that others share. Serve such a "
            "specialist by itself after luthier export, or train it with an adapter method (lora)"
        )
    bases: dict[str, list[str]] = {}
    for one in specialists:
        base = one.manifest["base"]
        bases.setdefault(f"{base['name']} ({str(base['hash'])[:19]})", []).append(one.ref)
    if len(bases) > 1:
        told = "; ".join(f"{base}: {', '.join(refs)}" for base, refs in bases.items())
        raise ServingError(
            f"one server has one base, and these have {len(bases)}: {told}. Name those of one base"
        )
    return dict(specialists[0].manifest["base"]) if specialists else None


def certified(engine: str, body: Mapping[str, Any]) -> str | None:
    """The word of a certificate for the form that an engine runs; None where it does not speak of it."""
    words = [
        str(form.get("word"))
        for form in body.get("forms", ())
        if str(form.get("form", "")).partition(":")[0] in FORMS.get(engine, ())
    ]
    return words[-1] if words else None


async def mount_all(
    engine: Engine,
    base: Served,
    store: SpecialistStore | None,
    specialists: Iterable[Specialist],
    traffic: Traffic,
    engine_name: str,
) -> tuple[Roster, list[str]]:
    """(the roster with everything mounted that is named or that a plan needs, warnings for whoever starts it)."""
    opened: Callable[[Specialist], Served] = partial(_opened, store, base, engine_name)
    roster, warnings = Roster(base, engine, opened), []
    for one in specialists:
        await roster.mount(one)
        if one.name not in traffic.names():
            traffic.switch(one.name, one.ref)
        word = roster.find(one.ref).certificate
        if word is None:
            warnings.append(
                f"{one.ref}: no certificate says that this form answers as the tested one; luthier export {one.ref} "
                f"--to {FORMS[engine_name][0]} writes the form and certifies it"
            )
        elif word not in _GOOD:
            warnings.append(f"{one.ref}: its certificate for this form says {word!r}")
    for ref in sorted(traffic.specialists() - set(roster.mounted())):
        if store is None:
            raise ServingError(f"{ref}: a plan needs it, and there is no store of specialists here")
        await roster.mount(store.find(ref))
    return roster, warnings


def _opened(store: SpecialistStore | None, base: Served, engine_name: str, one: Specialist) -> Served:
    assert store is not None
    return serve_specialist(store, one, base, partial(certified, engine_name))


def _production(store: SpecialistStore, ref: str) -> str:
    """A bare name means what is in production, where something is, and else the newest."""
    if "@" in ref or ref not in store.names() or PRODUCTION not in store.aliases(ref):
        return ref
    return f"{ref}@{PRODUCTION}"
