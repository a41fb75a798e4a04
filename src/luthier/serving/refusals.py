"""Why a request is not answered, where that is the request's doing and not the service's."""

from luthier.errors import ServingError


class Refusal(ServingError):
    """A request that cannot be answered as it is. `field`: the part of it that is meant, where there is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownModel(Refusal):
    """No specialist of that name is served."""


class BadRequest(Refusal):
    """A value that cannot be, or a wish that cannot be met."""


class TooLong(Refusal):
    """The prompt leaves no room for an answer."""


class NotAllowed(Refusal):
    """The key may not ask this."""
