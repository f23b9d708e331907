"""What went wrong with a remote reward."""

from frontier.errors import InputError


class RemoteError(InputError):
    """A remote reward gave no usable answer: no connection, no answer in time, an error, or something that is not what was asked for.

    The message names the address (without query), what was found and what is allowed, never an API key.

    Args:
        message (`str`): what happened.
        status (`int`, *optional*): the HTTP status, where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RequestRefused(RemoteError):
    """The server will never answer requests like this one: a wrong address or a missing right. Raised whatever `on_failure` says."""


class Transient(Exception):
    """An attempt failed in a way that may pass; internal, turned into a [`RemoteError`] when the attempts are used up.

    Args:
        message (`str`): what happened.
        wait (`float`, *optional*, defaults to 0): seconds that the server asks to wait.
        status (`int`, *optional*): the HTTP status.
    """

    def __init__(self, message: str, wait: float = 0.0, status: int | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        self.status = status
