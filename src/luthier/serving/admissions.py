"""The keys' limits at the service's gate: what a key may ask, and how much of it. Knows nothing of HTTP."""

from luthier.serving.engines.engine import Overloaded
from luthier.serving.keys import Key, KeyRing
from luthier.serving.protocol import Request
from luthier.serving.refusals import NotAllowed


class KeyAdmissions:
    """`service.Admissions` of a ring of keys. `remember` is told of each key that was recognised."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self._keys: dict[str, Key] = {}

    def remember(self, key: Key) -> None:
        """A request of this key follows."""
        self._keys[key.id] = key

    def admit(self, request: Request, specialist: str | None, num_tokens: int) -> None:
        """Raises NotAllowed where the key may not ask this, Overloaded where one of its limits is reached."""
        key = self._keys.get(request.key_id or "")
        if key is None:
            raise NotAllowed("a key is needed")
        if not key.may_ask(specialist):
            raise NotAllowed(f"the key {key.name!r} may not ask {specialist or 'the base'}", "model")
        admission = self.ring.admit(key, num_tokens)
        if not admission.allowed:
            raise Overloaded(
                f"the key {key.name!r} has reached its limit of {admission.word}",
                admission.retry_after_seconds,
            )

    def release(self, request: Request, unused_tokens: int) -> None:
        """An admitted request has ended."""
        key = self._keys.get(request.key_id or "")
        if key is not None:
            self.ring.release(key, unused_tokens)
