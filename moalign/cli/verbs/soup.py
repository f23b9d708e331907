"""`moalign soup ACTION`: search for the best soups of several experts, and write one as a model."""

import importlib
from collections.abc import Sequence

from frontier.errors import InputError, unknown_name
from moalign.cli.console import say
from moalign.cli.soup import ACTIONS


def run(arguments: Sequence[str]) -> int:
    """Run one action."""
    if not arguments or arguments[0] in ("--help", "-h", "--help-all"):
        say("usage: moalign soup ACTION [--config x.yaml] [--field value ...]\n\nActions:")
        for name, summary in ACTIONS.items():
            say(f"  {name:<10} {summary}")
        say("\n`moalign soup ACTION --help` shows an action's options.")
        return 0 if arguments else 2
    action, *rest = arguments
    if action.startswith("-"):
        raise InputError(f"moalign soup needs an action before {action}: {', '.join(ACTIONS)}")
    if action not in ACTIONS:
        raise unknown_name("action of moalign soup", action, ACTIONS)
    return int(importlib.import_module(f"moalign.cli.soup.{action}").run(rest))
