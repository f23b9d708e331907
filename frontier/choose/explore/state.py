"""Read back any explorer from its JSON state."""

from collections.abc import Mapping
from typing import Any

from frontier.choose.explore.base import Explorer, read_state
from frontier.choose.explore.gaps import GapFilling
from frontier.choose.explore.improvement import ExpectedImprovement
from frontier.choose.explore.nehvi import NoisyImprovement
from frontier.choose.explore.support import LinearSupport
from frontier.errors import unknown_name

KINDS: dict[str, type[Explorer]] = {
    made.kind: made for made in (GapFilling, LinearSupport, ExpectedImprovement, NoisyImprovement)
}


def explorer_from_json(document: Mapping[str, Any] | str) -> Explorer:
    """The explorer whose `to_json` this is, whatever its kind.

    Raises:
        InputError: it is no explorer's state, or of an unknown kind.
    """
    kind = read_state(document)["kind"]
    if kind not in KINDS:
        raise unknown_name("kind of explorer", str(kind), KINDS)
    return KINDS[kind].from_json(document)
