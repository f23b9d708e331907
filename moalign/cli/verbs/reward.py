"""`moalign reward ACTION`: train, evaluate, calibrate and inspect vector rewards."""

import importlib
from collections.abc import Sequence

from frontier.errors import unknown_name
from moalign.cli.console import say
from moalign.cli.reward import ACTIONS


def run(arguments: Sequence[str]) -> int:
    """Run one action; options without an action are those of `train`."""
    if not arguments or arguments[0] in ("--help", "-h"):
        say("usage: moalign reward ACTION [--config x.yaml] [--field value ...]\n\nActions:")
        for name, summary in ACTIONS.items():
            say(f"  {name:<10} {summary}")
        say("\n`moalign reward ACTION --help` shows an action's options.")
        return 0 if arguments else 2
    action, rest = ("train", list(arguments)) if arguments[0].startswith("-") else (arguments[0], list(arguments[1:]))
    if action not in ACTIONS:
        raise unknown_name("action of moalign reward", action, ACTIONS)
    return int(importlib.import_module(f"moalign.cli.reward.{action}").run(rest))
