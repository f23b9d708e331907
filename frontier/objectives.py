"""The names of objectives: one rule for rewards, preferences, fronts, files and requests."""

from collections.abc import Iterable

from frontier.errors import InputError

# These would make the text form, the JSON form, a served model name (`bundle@a=0.5,b=0.5`) or an adapter's folder ambiguous.
RESERVED = "=,:;@/\\\"'{}[]"


def check_objectives(objectives: Iterable[str]) -> tuple[str, ...]:
    r"""The objectives as a tuple, once every name can stand in a preference's text form and none comes twice.

    Args:
        objectives (`Iterable[str]`): the names, in order.

    Raises:
        InputError: there is none, one comes twice, or a name is empty, is padded with spaces, or has a control character or one of ``=,:;@/\"'{}[]``.

    Example:
        >>> check_objectives(["helpful", "brief"])
        ('helpful', 'brief')
    """
    if isinstance(objectives, str):
        raise InputError(f"objectives must be a list of names, found one string: write ['{objectives}']")
    names = tuple(objectives)
    if not names:
        raise InputError("no objectives: name at least one objective")
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
            raise InputError(f"objective names must be non-empty printable text without outer spaces, found {name!r}")
        bad = next((c for c in name if c in RESERVED), None)
        if bad is not None:
            raise InputError(
                f"objective {name!r}: the character {bad!r} is not allowed in a name (reserved: {RESERVED})"
            )
        if name in names[:position]:
            raise InputError(f"objective {name!r} is named twice; found: {', '.join(names)}")
    return names
