"""Tell by its content whether a reward is the one that stored evaluations were made with: a changed file under the same name is another reward."""

import dataclasses
import functools
import hashlib
import logging
import re
import sys
import sysconfig
from collections.abc import Mapping, Set
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moalign.bundle import weights_digest
from reward_heads import VectorReward

# Tensors of more values than this enter by a sample of them.
WHOLE = 2**20
_LIBRARIES = tuple(str(Path(sysconfig.get_paths()[key])) for key in ("stdlib", "purelib", "platlib"))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), Path, torch.dtype, torch.device)

_CONSTANT = (*_PLAIN, list, tuple, Mapping, Set, re.Pattern)


def reward_digest(reward: VectorReward) -> str:
    """A sha256 of everything that makes a reward: its settings, its weights, and the code of functions that were written for it.

    Code is followed from functions to what they call and to the constants of their modules, down to installed packages, which enter by name alone. What a reward reads from disk only while
    it scores is not seen. Take it before the reward is used, as counters are part of it; caches are not.

    Args:
        reward (`VectorReward`): any.

    Returns:
        `str`: 64 hexadecimal digits, the same in every process with the same version of Python.
    """
    walk = _Walk()
    walk.see(reward)
    return walk.digest.hexdigest()


class _Walk:
    """One pass over an object; what was seen before enters by its number, so that cycles end."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # an id is only its object's while that lives

    def say(self, *words: object) -> None:
        """Take words in, each with its end."""
        for word in words:
            found = word if isinstance(word, bytes) else str(word).encode()
            self.digest.update(b"%d:" % len(found) + found)

    def see(self, found: Any) -> None:
        """Take an object in."""
        if isinstance(found, _PLAIN):
            self.say(type(found).__name__, found)
            return
        if id(found) in self.seen:
            self.say("again", self.seen[id(found)])
            return
        self.seen[id(found)] = len(self.seen)
        self.kept.append(found)
        if isinstance(found, type | ModuleType | BuiltinFunctionType | FunctionType | MethodType | CodeType):
            self._code(found)
        elif isinstance(found, Tensor | np.ndarray | np.generic | nn.Module):
            self._numbers(found)
        elif isinstance(found, Mapping):
            self.say(_name(type(found)), len(found))
            for key, value in found.items():
                self.see(key)
                self.see(value)
        elif isinstance(found, list | tuple):
            self.say(_name(type(found)), len(found))
            for value in found:
                self.see(value)
        elif isinstance(found, Set):
            # Sets of texts have another order in every process.
            self.say("set", *sorted(_alone(value) for value in found))
        else:
            self._object(found)

    def _numbers(self, found: Any) -> None:
        if isinstance(found, nn.Module):
            state = found.state_dict()
            self.say(_name(type(found)), weights_digest(state.items()))
            for name in sorted(name for name, tensor in state.items() if tensor.numel() <= WHOLE):
                self.say(name)
                self._numbers(state[name])
        elif isinstance(found, Tensor):
            whole = found.detach().cpu().contiguous().reshape(-1)
            self.say("tensor", found.dtype, tuple(found.shape), whole.view(torch.uint8).numpy().tobytes())
        elif found.dtype.hasobject:
            self.see(found.tolist())
        else:
            self.say("array", found.dtype, found.shape, np.ascontiguousarray(found).tobytes())

    def _object(self, found: Any) -> None:
        self.say(_name(type(found)))
        if isinstance(found, re.Pattern):
            self.say(found.pattern, found.flags)
            return
        if isinstance(found, functools.partial):
            self.see([found.func, list(found.args), found.keywords])
            return
        if isinstance(found, logging.Logger):
            return
        self.see(type(found))
        if isinstance(getattr(type(found), "fingerprint", None), property):
            self.say(found.fingerprint)  # of an embedder, whose model is loaded when it is needed
            return
        fields = _fields(found)
        for name in sorted(fields):
            if "cache" not in name and name not in ("_rows", "hits", "misses"):
                self.say(name)
                self.see(fields[name])

    def _code(self, found: Any) -> None:
        if isinstance(found, CodeType):
            self.say("code", found.co_code, found.co_names, found.co_varnames, found.co_freevars)
            self.see(list(found.co_consts))
        elif isinstance(found, MethodType):
            self.see([found.__func__, found.__self__])
        elif isinstance(found, FunctionType) and not _installed(found.__module__):
            cells = [_cell(cell) for cell in found.__closure__ or ()]
            self.see([found.__code__, found.__defaults__, found.__kwdefaults__, cells])
            for name in sorted(_names(found.__code__)):
                if name in found.__globals__:
                    self.say(name)
                    self._used(found.__globals__[name], found.__code__)
        elif isinstance(found, type) and not _installed(found.__module__):
            self.say("class", _name(found))
            self.see(found.__bases__)
            for name, value in sorted(vars(found).items()):
                own = getattr(value, "__func__", getattr(value, "fget", value))
                constant = isinstance(own, _CONSTANT) and not name.startswith("__")
                if constant or isinstance(own, FunctionType):
                    self.say(name)
                    self.see(own)
        else:
            self.say(getattr(found, "__module__", ""), getattr(found, "__qualname__", found.__name__))

    def _used(self, found: Any, code: CodeType) -> None:
        """A global: of a module that is not installed, what the code takes from it."""
        if not isinstance(found, ModuleType) or _installed(found.__name__):
            self.see(found)
            return
        for name in sorted(_names(code) & vars(found).keys()):
            self.say(name)
            self.see(vars(found)[name])


def _alone(found: Any) -> str:
    walk = _Walk()
    walk.see(found)
    return walk.digest.hexdigest()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(code: CodeType) -> set[str]:
    """What a code names, with the functions inside it."""
    inner = [_names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inner)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a function that is still being made
        return None


def _fields(found: Any) -> dict[str, Any]:
    fields = dict(getattr(found, "__dict__", {}))
    slots = [name for kind in type(found).__mro__ for name in getattr(kind, "__slots__", ())]
    if dataclasses.is_dataclass(found):
        slots += [f.name for f in dataclasses.fields(found)]
    return fields | {name: getattr(found, name) for name in slots if not name.startswith("__") and hasattr(found, name)}


@functools.cache
def _installed(module: str | None) -> bool:
    """Whether a module comes with Python or was installed, so that its name says what it is."""
    loaded = sys.modules.get(module or "")
    file = getattr(loaded, "__file__", None)
    return module != "__main__" and (file is None or str(Path(file)).startswith(_LIBRARIES))
