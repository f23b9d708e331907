"""Tell a person what was wrong with their input: what was found, what is allowed, and the nearest valid name."""

import difflib
from collections.abc import Collection, Iterable, Mapping


class InputError(ValueError):
    """Something that a user gave (a file, a flag, a request) is wrong; the message says what and how to mend it.

    The command line prints it without a stack trace and exits with 2, the server answers 400. A bug of ours must never raise it.
    """


def unknown_name(what: str, found: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest one that does.

    Args:
        what (`str`): what the name names, as it should read in the message: `"objective"`, `"field of CLPConfig"`.
        found (`str`): the unknown name.
        allowed (`Iterable[str]`): the valid names, listed in this order.

    Example:
        >>> print(unknown_name("objective", "helpfull", ["helpful", "brief"]))
        unknown objective 'helpfull': did you mean 'helpful'? Valid: helpful, brief
    """
    names = list(allowed)
    near = difflib.get_close_matches(found, names, n=1)
    suggestion = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {what} '{found}': {suggestion}Valid: {', '.join(names)}")


def check_fields(found: Mapping[str, object], fields: Collection[str]) -> None:
    """Refuse an object that has a field too many or too few.

    Args:
        found (`Mapping`): such as what a JSON file holds.
        fields (`Collection[str]`): the names that it must have, all of them and no others.

    Raises:
        InputError: names the field, and the nearest valid name or all that are needed.
    """
    for name in found:
        if name not in fields:
            raise unknown_name("field", name, fields)
    for name in fields:
        if name not in found:
            raise InputError(f"field '{name}' is missing; it needs {', '.join(fields)}")
