"""The command line: `moalign demo | reward | groups | train METHOD | sweep | front | compare | pick | choose | generate | export | merge | soup | serve | env`.

Every option is a dataclass field: `--field value` or `--field=value` on the command line, or a flat key of `--config x.yaml`; the command line wins.

Exit codes: 0 done; 1 a run could not go on, or a job of a sweep failed for good; 2 the input is wrong (one message on stderr, nothing written); 3 `pick` found no
point that satisfies the constraints; 130 interrupted; 143 terminated (a training run was saved before).
An exception of any other kind is a bug of ours and shows its traceback.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from frontier.errors import InputError, unknown_name

# Verb to what follows it and what it does. The modules `moalign.cli.verbs.VERB` are imported only when the verb runs.
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("", "run the whole pipeline on a small world of its own: no download, a few minutes on two cores"),
    "reward": (
        "ACTION",
        "train, evaluate, calibrate and inspect vector rewards; `moalign reward --help` lists the actions",
    ),
    "groups": ("", "find user groups in preference pairs and train a reward for each, for max-min training"),
    "train": ("METHOD", "train a steerable policy; `moalign train --help` lists the methods"),
    "sweep": (
        "",
        "train and measure many policies (methods, preferences, seeds), on one machine or Ray: one front of all",
    ),
    "front": ("BUNDLE", "measure a policy at many preferences: front.json, front.png, front.html"),
    "compare": ("FRONT FRONT", "test whether one measured front beats another, with intervals over the prompts"),
    "pick": ("BUNDLE", "pick a point of the front by constraints, an aspiration, at the knee and more ways"),
    "choose": ("BUNDLE", "find the point of the front that you like best by comparing two at a time"),
    "generate": ("BUNDLE", "answer prompts at one preference or several"),
    "export": ("BUNDLE", "write the policy at one preference as a plain LoRA or a merged model"),
    "merge": ("", "merge models, or models with adapters, into one, from a file in mergekit's form"),
    "soup": ("ACTION", "search for the best soups of several experts, per block of layers too, and export one"),
    "serve": ("BUNDLE", "serve a bundle over HTTP (OpenAI's API), a preference per request"),
    "env": ("", "print versions and devices, for bug reports"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv (`Sequence[str]`, *optional*): the arguments, by default those of the process.
    """
    from moalign.cli.quiet import quiet

    # Read when torch is imported: idle threads that spin make small models ten times slower on a machine that does anything else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in arguments
    try:
        with quiet(verbose):
            return _run([a for a in arguments if a != "--verbose"])
    except InputError as error:
        sys.stderr.write(f"moalign: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("moalign: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output (`| head`) has what it wanted; Python's own farewell must not fail on the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(arguments: list[str]) -> int:
    from moalign.cli.console import say
    from moalign.cli.help_text import show_overview

    if not arguments:
        sys.stderr.write(show_overview(VERBS) + "\n")
        return 2
    verb, *rest = arguments
    if verb in ("--help", "-h", "help", "--help-all"):
        say(show_overview(VERBS))
        return 0
    if verb == "--version":
        from moalign import __version__

        say(f"moalign {__version__}")
        return 0
    if verb not in VERBS:
        raise unknown_name("verb", verb, VERBS)
    return int(importlib.import_module(f"moalign.cli.verbs.{verb}").run(rest))


__all__ = ["VERBS", "main"]
