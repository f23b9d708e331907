"""`moalign serve`: a bundle over HTTP, with a preference per request."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.quiet import hide_loading_bars


@dataclass
class ServeOptions:
    """Options of `moalign serve` besides those of the server."""

    bundle: str = field(metadata=about("The bundle to serve.", positional=True))


def run(arguments: Sequence[str]) -> int:
    """Serve until stopped."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"moalign serve needs {package}: install moalign with its extra, `pip install 'moalign[serve]'`"
            )
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
    from moalign.bundle import read_manifest

    options = values.build(ServeOptions)
    read_manifest(options.bundle)  # a damaged bundle is refused before anything listens
    hide_loading_bars()
    serve(options.bundle, values.build(ServeConfig))
    return 0
