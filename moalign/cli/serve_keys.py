"""`moalign serve keys add`: make a key for somebody who may use a server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from frontier.errors import unknown_name
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say

ACTIONS = ("add",)
USAGE = "usage: moalign serve keys add --policy FILE --name NAME [--field value ...]"


@dataclass
class KeyOptions:
    """Options of `moalign serve keys add`."""

    policy: str = field(metadata=about("The policy file, YAML or JSON; made where it is missing."))
    name: str = field(metadata=about("Of the key's holder, as logs will show it."))
    at_least: dict[str, float] | None = field(
        default=None, metadata=about("The smallest value of an objective in a preference: safety=0.2.")
    )
    at_most: dict[str, float] | None = field(
        default=None, metadata=about("The largest value of an objective in a preference: brief=0.5.")
    )
    paths: list[str] | None = field(
        default=None, metadata=about("What may be asked, each with all below it: /v1/completions,/v1/models. All.")
    )
    requests_per_minute: int | None = field(default=None, metadata=about("Requests; no limit."))
    concurrency: int | None = field(default=None, metadata=about("Requests at a time; no limit."))
    max_tokens: int | None = field(default=None, metadata=about("Largest max_tokens of a request; the server's."))
    tokens_per_minute: int | None = field(default=None, metadata=about("Tokens of prompts and answers; no limit."))
    tokens_per_day: int | None = field(default=None, metadata=about("Tokens of prompts and answers; no limit."))

    def limits(self) -> dict[str, Any]:
        """What was given, as a policy file has it."""
        ranges: dict[str, dict[str, float]] = {}
        for bound, given in (("min", self.at_least), ("max", self.at_most)):
            for objective, value in (given or {}).items():
                ranges.setdefault(objective, {})[bound] = value
        names = ("paths", "requests_per_minute", "concurrency", "max_tokens", "tokens_per_minute", "tokens_per_day")
        found = {"preference": ranges or None, **{name: getattr(self, name) for name in names}}
        return {name: value for name, value in found.items() if value is not None}


def run(arguments: Sequence[str]) -> int:
    """Run one action."""
    if not arguments or arguments[0] in ("--help", "-h"):
        say(
            f"{USAGE}\n\n`moalign serve keys add --help` shows the options. To withdraw a key, delete its entry in the file."
        )
        return 0 if arguments else 2
    action, *rest = arguments
    if action not in ACTIONS:
        raise unknown_name("action of moalign serve keys", action, ACTIONS)
    command = Command(
        "serve keys add",
        "Make an API key and write its hash, with what it may do, into a policy file. The key is printed once, alone on stdout.",
        (KeyOptions,),
    )
    values = parse(command, rest)
    if values is None:
        return 0
    from moalign.serving.access.policy_file import add_key

    options = values.build(KeyOptions)
    say(add_key(options.policy, options.name, options.limits()))
    return 0
