"""Turn the model name of a request into the folder of an exact adapter: `bundle@helpful=0.7,brief=0.3`."""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.serving.vllm.bundles import BrokenBundle, OpenBundle, fingerprint
from moalign.serving.vllm.disk_cache import DiskCache
from moalign.serving.vllm.settings import Settings

# A child of vLLM's own logger, so that what is said here stands in vLLM's log.
LOGGER = logging.getLogger("vllm.moalign")
LONGEST_NAME = 2000
# Part of every key: changes whenever other files are written for the same weights.
FORMAT = 1
# Seconds until a bundle that could not be opened is looked at again, since that reads all its files.
PATIENCE = 30.0


@dataclass(frozen=True)
class Adapter:
    """What a name stands for.

    Args:
        folder (`Path`): an ordinary PEFT LoRA folder.
        number (`int`): positive, below 2^63; one content has one number, on every machine.
        preference (`Preference`): the point of the lattice that it is exact at.
    """

    folder: Path
    number: int
    preference: Preference


class BundleAdapters:
    """The adapters of all bundles at all weights of a lattice, made when they are first asked for.

    Args:
        settings (`Settings`): which bundles, how fine a lattice, how much to keep.

    Example:
        ```python
        adapters = BundleAdapters(Settings(named={"policy": Path("runs/policy")}))
        adapters.find("Qwen/Qwen3-8B", "policy@helpful=0.7,brief=0.3").folder
        ```
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = DiskCache(settings.cache, settings.max_adapters, settings.max_bytes)
        self._open: dict[tuple[str, str], OpenBundle] = {}
        self._failed: dict[tuple[str, str], tuple[float, Exception]] = {}
        self._lock = threading.Lock()

    def find(self, base_name: str, name: str) -> Adapter | None:
        """The adapter of a name; a name without `@` is the bundle at its default preference.

        Args:
            base_name (`str`): the model that vLLM serves.
            name (`str`): as a request gives it.

        Returns:
            `Adapter`, or `None`: there is no such bundle, or it belongs to another base.

        Raises:
            InputError: what follows the `@` is no preference over the bundle's objectives; the message is for whoever asked.
            Unavailable: the bundle or the cache is broken; the log says how.
        """
        if len(name) > LONGEST_NAME:
            return None
        bundle, at, text = name.partition("@")
        folder = self._settings.bundles().get(bundle)
        if folder is None:
            return None
        with self._lock:
            opened = self._opened(bundle, folder, base_name)
        if opened is None:
            return None
        asked = Preference.parse(text, opened.objectives) if at else opened.default_preference
        weights = snap_weights(asked, opened.objectives, self._settings.partitions)
        key = content_key(opened.state, weights)
        snapped = Preference(dict(zip(opened.objectives, weights, strict=True)))

        def write(beside: Path) -> dict[str, object]:
            rank = opened.write(weights, beside)
            return {"bundle": bundle, "bundle_sha256": opened.state, "preference": snapped.to_json(), "rank": rank}

        try:
            place, there = self._cache.get(key, write)
        except (InputError, RuntimeError, OSError) as error:
            LOGGER.error("moalign: no adapter for %s: %s", snapped, error)
            raise Unavailable(bundle) from error
        LOGGER.info("moalign: %r is %s@%s, %s in %s", name, bundle, snapped, "found" if there else "written", place)
        return Adapter(place, int(key[:16], 16) % (2**63 - 1) + 1, snapped)

    def _opened(self, bundle: str, folder: Path, base_name: str) -> OpenBundle | None:
        """The bundle as it is on the disk now, read again only if it changed."""
        slot = (bundle, base_name)
        when, failure = self._failed.get(slot, (-PATIENCE, None))
        if failure is None or time.monotonic() - when >= PATIENCE:
            failure = None
            try:
                return self._fresh(bundle, folder, base_name)
            except (InputError, BrokenBundle, OSError) as error:
                self._failed[slot] = (time.monotonic(), error)
                LOGGER.error("moalign: bundle '%s' is not served on %s: %s", bundle, base_name, error)
                failure = error
        if isinstance(failure, InputError):
            return None  # another base: here there is no such model
        raise Unavailable(bundle) from failure

    def _fresh(self, bundle: str, folder: Path, base_name: str) -> OpenBundle:
        before = self._open.get((bundle, base_name))
        if before is not None:
            if _state(folder) == before.state:
                return before
            LOGGER.warning(
                "moalign: bundle '%s' changed on the disk. New names get the new adapters; names that this server resolved before keep the old ones until they "
                "are unloaded (POST /v1/unload_lora_adapter) or it is started again.",
                bundle,
            )
        self._open[bundle, base_name] = OpenBundle.open(folder, base_name)
        self._failed.pop((bundle, base_name), None)
        return self._open[bundle, base_name]


class Unavailable(RuntimeError):
    """A bundle that exists cannot be served now; says no more than that, since clients read it."""

    def __init__(self, bundle: str) -> None:
        super().__init__(f"bundle '{bundle}' cannot be served at present: the server's log says why")


def _state(folder: Path) -> str:
    try:
        return fingerprint(folder)
    except InputError as error:
        raise BrokenBundle(str(error)) from error


def snap_weights(preference: Preference, objectives: Sequence[str], partitions: int) -> list[float]:
    r"""The nearest weights (L2) that are multiples of 1/partitions; of several equally near, those that favour earlier objectives.

    Rounding down and giving what is missing to the largest remainders is the nearest point of the lattice, and needs no list of its
    $\binom{\text{partitions} + K - 1}{K - 1}$ points.

    Args:
        preference (`Preference`): weights.
        objectives (`Sequence[str]`): K names, in the order of the result.
        partitions (`int`): of each edge of the simplex.

    Raises:
        InputError: the preference is a direction.

    Example:
        >>> snap_weights(Preference.parse("helpful=0.68,brief=0.32"), ["brief", "helpful"], 20)
        [0.3, 0.7]
    """
    if preference.kind != "weights":
        raise InputError(f"found {preference}, a direction: this server takes weights, as in {objectives[0]}=1")
    scaled = [preference.values.get(name, 0.0) * partitions for name in objectives]
    # Weights such as 0.7 are whole steps that floating point may put just below one.
    steps = [int(value + 1e-9) for value in scaled]
    remainders = [round(value - step, 9) for value, step in zip(scaled, steps, strict=True)]
    order = sorted(range(len(steps)), key=lambda k: -remainders[k])
    for k in order[: partitions - sum(steps)]:
        steps[k] += 1
    return [step / partitions for step in steps]


def content_key(state: str, weights: Sequence[float]) -> str:
    """A name for the adapter of a bundle in one state at some weights: hex, safe in paths, never the same for two contents."""
    return hashlib.sha256(json.dumps([FORMAT, state, list(weights)]).encode()).hexdigest()[:40]
