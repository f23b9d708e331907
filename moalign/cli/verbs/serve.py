"""`moalign serve`: a bundle over HTTP, with a preference per request."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moalign.cli import serve_keys
from moalign.cli.command import Command, about, parse
from moalign.cli.quiet import hide_loading_bars


@dataclass
class ServeOptions:
    """Options of `moalign serve` besides those of the server."""

    bundle: str = field(metadata=about("The bundle to serve.", positional=True))


def command() -> Command:
    """The options and the help of `moalign serve`."""
    from moalign.serving.run import ServeConfig

    return Command(
        "serve",
        "Serve a bundle with OpenAI's API: /v1/completions, /v1/chat/completions (streaming too), /v1/models. The field `preference` of a request steers "
        "its answer; requests with different preferences share a batch.",
        (ServeOptions, ServeConfig),
        details="`moalign serve keys add --policy FILE --name NAME` makes an API key; `--policy FILE` then serves nobody without one.",
    )


def run(arguments: Sequence[str]) -> int:
    """Serve until stopped; or make a key for those who may ask (`moalign serve keys add`)."""
    # A bundle of that name is still served as `./keys`.
    if arguments and arguments[0] == "keys":
        return serve_keys.run(arguments[1:])
    from moalign.serving.run import ServeConfig, serve

    values = parse(command(), arguments)
    if values is None:
        return 0
    bundle, config = values.build(ServeOptions).bundle, values.build(ServeConfig)
    hide_loading_bars()
    serve(bundle, config)
    return 0
