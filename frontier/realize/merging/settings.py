"""One setting of a merge for one tensor: a value, a gradient over the layers, or the first filter that fits the tensor's name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from frontier.errors import InputError, unknown_name

# Keys of a conditional setting.
CONDITION = ("filter", "value")
ANY = "*"


def plain(setting: Any) -> Any:
    """A setting with what came from NumPy or torch, and tuples, as numbers and lists of Python."""
    if isinstance(setting, Mapping):
        return {key: plain(value) for key, value in setting.items()}
    if isinstance(setting, list | tuple):
        return [plain(value) for value in setting]
    return setting.tolist() if isinstance(setting, np.ndarray | np.generic | Tensor) else setting


def check_setting(where: str, setting: Any, kind: type) -> None:
    """Refuse what `value_of` could not read, before any tensor is.

    Args:
        where (`str`): the setting as it should read in a message.
        setting (`Any`): from the file.
        kind (`type`): of the setting's values; a `tuple` is a list of numbers and has no gradient.

    Raises:
        InputError: an empty list, a list of values and filters mixed, a filter that is no text or has no value, an unknown key.
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        if setting is None:
            raise InputError(f"{where} has no value")
        if kind in (int, float) and not _is_number(setting):
            raise InputError(f"{where} must be a number or a list of numbers over the layers, found {setting!r}")
        return
    if not setting:
        raise InputError(f"{where} is an empty list")
    conditions = [item for item in setting if isinstance(item, Mapping)]
    if conditions and len(conditions) != len(setting):
        raise InputError(f"{where} mixes values and filters: give the last value as {{value: ...}}, without a filter")
    for item in conditions:
        for key in item:
            if key not in CONDITION:
                raise unknown_name(f"key of {where}", str(key), CONDITION)
        fits = item.get("filter")
        if fits is not None and not isinstance(fits, str):
            raise InputError(f"{where}: filter must be a part of a tensor's name, or left out, found {fits!r}")
        if "value" not in item or isinstance(item["value"], Mapping):
            raise InputError(f"{where}: every filter needs a plain value, found {dict(item)}")
        check_setting(where, item["value"], kind)
    if not conditions and kind in (int, float) and not all(_is_number(item) for item in setting):
        raise InputError(f"{where} must be a number or a list of numbers over the layers, found {setting!r}")


def value_of(setting: Any, kind: type, tensor: str, t: float) -> Any:
    """The value for one tensor; `None` where only filters are given and none fits.

    A list of n numbers is a gradient: piecewise linear over the layers, its first value at the first layer (t = 0), its last at the last (t = 1); of
    truth values, texts and whole numbers the one at position floor(t (n - 1)). Of filters the first counts whose text is part of the tensor's name (`"*"`,
    or no filter, fits every name).

    Args:
        setting (`Any`): passed `check_setting`.
        kind (`type`): as there.
        tensor (`str`): the tensor's name in the model that the setting is of.
        t (`float`): the layer's place in its slice, 0 to 1; 0 for what is outside the layers.

    Example:
        >>> value_of([0.0, 0.5, 1.0], float, "model.layers.1.mlp.up_proj.weight", 0.25)
        0.25
        >>> value_of([{"filter": "mlp", "value": 0.2}, {"value": 0.6}], float, "model.layers.1.mlp.up_proj.weight", 0.5)
        0.2
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return setting
    if isinstance(setting[0], Mapping):
        for item in setting:
            fits = item.get("filter")
            if fits is None or fits == ANY or fits in tensor:
                return value_of(item["value"], kind, tensor, t)
        return None
    if kind is tuple:
        return setting
    return _interpolated(setting, t) if kind is float else setting[int(t * (len(setting) - 1))]


def _interpolated(values: Sequence[float], t: float) -> float:
    place = t * (len(values) - 1)
    before = int(place)
    after = min(len(values) - 1, before + 1)
    part = place - before
    return (1 - part) * values[before] + part * values[after]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
