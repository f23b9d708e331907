"""Read the measured front of a bundle, and say when it is missing or out of date."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from frontier.errors import InputError

if TYPE_CHECKING:
    from frontier.front import ParetoFront


def measured_front(place: str | Path, path: str | Path | None = None, *, samples: bool = True) -> "ParetoFront":
    """The front that `moalign front` wrote into a bundle, or that any other folder or file holds.

    Args:
        place (`str` or `Path`): a bundle, a folder with a `front.json`, or the file itself.
        path (`str` or `Path`, *optional*): the front's file, where it stands elsewhere.
        samples (`bool`, *optional*, defaults to `True`): read the rewards on each prompt too. Where their file is missing a warning says so, and the front comes without them.

    Raises:
        InputError: there is no such folder, it holds no front (the message says how to measure one), or the file is no front.
    """
    from frontier.front import ParetoFront
    from frontier.front_json import MissingSamples, prompts_file
    from moalign.bundle import is_bundle, read_manifest
    from moalign.cli.verbs.front import adapters_digest

    folder = Path(place)
    file = Path(path) if path is not None else folder if folder.is_file() else folder / "front.json"
    if not file.is_file() and path is None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder" + (" or file" if folder.suffix else ""))
        what = "this bundle" if is_bundle(folder) else "this folder"
        raise InputError(
            f"{file} is missing: {what} has no measured front yet; run `moalign front {place} --reward REWARD --dataset PROMPTS` first"
        )
    try:
        front = ParetoFront.load(file, prompt_rewards=samples)
    except MissingSamples:
        logging.getLogger("moalign").warning(
            "%s: the file of its rewards on each prompt is missing, so nothing is known of how sure its figures are: copy it beside the front (%s)",
            file,
            prompts_file(file).name,
        )
        front = ParetoFront.load(file, prompt_rewards=False)
    bundle = folder.parent if folder.is_file() else folder
    measured = front.info.get("adapters_sha256")
    if measured and is_bundle(bundle) and measured != adapters_digest(read_manifest(bundle, verify=False)):
        logging.getLogger("moalign").warning(
            "%s was measured on other adapters than %s holds now: run `moalign front` again", file, bundle
        )
    return front
