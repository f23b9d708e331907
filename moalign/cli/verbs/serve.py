"""`moalign serve`: a bundle over HTTP, with a preference per request."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moalign.cli.command import Command, about, parse


@dataclass
class ServeOptions:
    """Options of `moalign serve` besides those of the server."""

    bundle: str = field(metadata=about("The bundle to serve.", positional=True))


def run(arguments: Sequence[str]) -> int:
    """Serve until stopped."""
    from moalign.serving.run import ServeConfig, serve

    command = Command(
        "serve",
        "Serve a bundle with OpenAI's API: /v1/completions, /v1/chat/completions (streaming too), /v1/models. The field `preference` of a request steers "
        "its answer; requests with different preferences share a batch.",
        (ServeOptions, ServeConfig),
    )
    values = parse(command, arguments)
    if values is None:
        return 0
    serve(values.build(ServeOptions).bundle, values.build(ServeConfig))
    return 0
