"""Load what a user names on the command line: rewards, prompts, preferences."""

import difflib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError, unknown_name
from moalign.preference import Preference

if TYPE_CHECKING:
    from reward_heads import Normalizer, VectorReward

IMPLICIT = "implicit:"
REWARD_HELP = (
    "The reward vector: the folder of a reward (heads, probes, an ensemble; its calibration and decorrelation are applied), a hub id, FILE.py:NAME or "
    "MODULE:NAME of one made in Python, or implicit:BUNDLE for the rewards that a policy trained on pairs stands for; several separated by commas become "
    "one vector."
)


def load_reward(text: str) -> "VectorReward":
    """The reward vector that `--reward` names.

    Args:
        text (`str`): one or more of a folder that `moalign reward` wrote (or any sequence-classification model), `FILE.py:NAME`, `MODULE:NAME` and
            `implicit:BUNDLE` (see `ImplicitReward`), separated by commas. A name stands for a `VectorReward`, a function without
            parameters that makes one, or a function of (prompt, completion), such as those of `reward_heads.rules`, which becomes the objective of its name.

    Raises:
        InputError: there is no such folder, file, module or name, it is no reward, or two parts share an objective.
    """
    from reward_heads import CombinedReward

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"reward: found {text!r}, expected a folder, FILE.py:NAME or MODULE:NAME")
    rewards = [_one_reward(part) for part in parts]
    return rewards[0] if len(rewards) == 1 else CombinedReward(rewards)


def _one_reward(part: str) -> "VectorReward":
    if part.startswith(IMPLICIT):
        from moalign.training.implicit_reward import ImplicitReward

        return ImplicitReward.from_pretrained(part.removeprefix(IMPLICIT))
    if ":" in part and not Path(part).is_dir():
        return _from_python(part)
    if part.endswith(".py"):
        raise InputError(f"reward '{part}': name what to take from the file, as in {part}:reward")
    _check_not_a_missing_folder(part)
    import torch

    from reward_heads.saved import load_reward as load_saved

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_saved(part, device=device)


def _check_not_a_missing_folder(part: str) -> None:
    """Refuse `runs/rewrad` where there is `runs/reward`: it reads like a hub id, and the hub would be asked, for a minute where there is no network."""
    path = Path(part)
    if path.exists() or len(path.parts) != 2 or path.is_absolute() or not path.parent.is_dir():
        return
    near = difflib.get_close_matches(part, [str(p) for p in path.parent.iterdir() if p.is_dir()], n=1)
    if near:  # else it may be a hub id after all
        raise InputError(f"reward: no such folder '{part}': did you mean '{near[0]}'?")


def _from_python(part: str) -> "VectorReward":
    from reward_heads import VectorReward

    place, _, name = part.rpartition(":")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _named_module(place)
    if not hasattr(module, name):
        public = [own for own in vars(module) if not own.startswith("_")]
        raise unknown_name(f"name in {place}", name, public)
    found: Any = getattr(module, name)
    if isinstance(found, type) or not hasattr(found, "score"):  # a class, or a function that makes one
        found = found() if callable(found) and _needs_nothing(found) else found
    if _is_rule(found):
        from reward_heads import FunctionReward

        return FunctionReward({name: found})
    if isinstance(found, type) or not isinstance(found, VectorReward):
        raise InputError(
            f"reward '{part}' is {type(found).__name__}, expected a VectorReward (something with `objectives` and `score`, such as "
            "reward_heads.FunctionReward), a function without parameters that makes one, or a function (prompt, completion) -> number, which becomes the "
            "objective of its name"
        )
    return found


def _is_rule(found: Any) -> bool:
    """Whether it is called with exactly a prompt and a completion, as the rewards of `reward_heads.rules` are."""
    if isinstance(found, type) or not callable(found) or hasattr(found, "score"):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # a builtin that does not say
        return False
    needed = [
        p
        for p in parameters
        if p.default is inspect.Parameter.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(needed) == 2 and all(p in needed or p.default is not inspect.Parameter.empty for p in parameters)


def _needs_nothing(function: Any) -> bool:
    empty = inspect.Parameter.empty
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin that does not say
        return False
    return all(p.default is not empty or p.kind in variadic for p in parameters)


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"reward: no file {path}")
    name = f"_moalign_reward_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"reward: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.insert(0, beside)  # as for a script: what lies beside the file can be imported by it
    spec.loader.exec_module(module)
    return module


def _named_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a console script does not look beside the user, `python -m` does
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"reward: '{name}' is no name of a module, no Python file and no folder")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the module is there, something that it imports is not
        raise InputError(f"reward: no module '{name}' (and no file or folder of that name)") from error


def load_normalizer(document: dict[str, Any] | None, objectives: Sequence[str]) -> "Normalizer | None":
    """The normaliser of a bundle for these objectives, `None` where it has none."""
    from reward_heads import Normalizer

    return Normalizer.from_json(document).select(objectives) if document is not None else None


def distinct_prompts(prompts: Iterable[Any], n: int) -> list[Any]:
    """At most `n` different prompts, spread evenly over their order: what a front is measured on, whose standard errors need different ones.

    Args:
        prompts (`Iterable`): texts or conversations; records of pairs name each prompt several times.
        n (`int`): at least 1.

    Raises:
        InputError: `n` is below 1.
    """
    if n < 1:
        raise InputError(f"n_prompts must be at least 1, found {n}")
    different = list({json.dumps(p, sort_keys=True): p for p in prompts}.values())
    if len(different) <= n:
        return different
    if n == 1:
        return different[:1]
    return [different[round(i * (len(different) - 1) / (n - 1))] for i in range(n)]


def preferences_from_file(path: str, objectives: Sequence[str]) -> list[Preference]:
    """The preferences of a text file, one a line (`helpful=0.7,brief=0.3` or JSON); empty lines and `#` comments are left out.

    Raises:
        InputError: the file cannot be read, holds none, or a line is wrong (named by its number) or holds a direction.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            preference = Preference.coerce(line.strip(), objectives)
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        if preference.kind != "weights":
            raise InputError(f"{path}:{number}: found a {preference.kind}, a front is swept over weights")
        found.append(preference)
    if not found:
        raise InputError(f"{path}: no preferences")
    return found
