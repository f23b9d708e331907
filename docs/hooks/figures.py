"""Generated parts of pages: measured figures, settings, help pages. They come from the code and its results, so that they cannot go stale.

{{ oracle.json clp.gain.mean.covered.beta0.3 }}   a figure of benchmarks/results/2-core-x86_64-CPU, to three decimals (a format may follow: .0%)
::settings moalign.CLPConfig                      a table of the fields that moalign declares
::help train clp                                  what the command prints
::memory                                          what training a 7B policy needs
"""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.hooks.figures")
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/2-core-x86_64-CPU"
OURS = ("moalign", "reward_heads", "frontier")
FIGURE = re.compile(r"\{\{ ([\w-]+\.json) (\S+?)(?: (\.\d+[f%]))? ?\}\}")
LINE = re.compile(r"^::(settings|help|memory)(?: (.+))?$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with each page's source."""
    try:
        markdown = FIGURE.sub(lambda m: figure(m[1], m[2], m[3] or ".3f"), markdown)
        markdown = LINE.sub(lambda m: MAKERS[m[1]](m[2] or ""), markdown)
    except (KeyError, ImportError, AttributeError) as error:
        log.warning("%s: a generated part cannot be made: %r", page.file.src_uri, error)
    if "{{ " in markdown:
        log.warning("%s: a figure is not written as {{ FILE.json ID }}", page.file.src_uri)
    return markdown


def figure(file: str, identity: str, form: str = ".3f") -> str:
    """A measured value, by its row's id."""
    value = _rows(file)[identity]
    return format(value, form).replace("-", "−")


@functools.cache
def _rows(file: str) -> dict[str, float]:
    return {row["id"]: row["value"] for row in json.loads((RESULTS / file).read_text(encoding="utf-8"))["rows"]}


def settings(name: str) -> str:
    """Our fields of a configuration class, those of the class itself first; TRL's and transformers' own stand in their docs."""
    module, _, attribute = name.rpartition(".")
    config = getattr(importlib.import_module(module), attribute)
    homes = {field: home for home in reversed(config.__mro__) for field in vars(home).get("__annotations__", {})}
    fields = [f for f in dataclasses.fields(config) if f.init and homes[f.name].__module__.split(".")[0] in OURS]
    fields.sort(key=lambda f: homes[f.name] is not config)
    rows = [f"| `{f.name}` | {_default(f)} | {_cell(f.metadata.get('help', ''))} |" for f in fields]
    return "\n".join(["| setting | default | what it does |", "|---|---|---|", *rows])


def _default(field: Any) -> str:
    value = field.default if field.default is not dataclasses.MISSING else None
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    return "" if value is None or value == [] else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def help_page(words: str) -> str:
    """What `moalign WORDS --help` prints."""
    from moalign.cli import main

    shown, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(shown):
            main([*words.split(), "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return f"```text\n{shown.getvalue().rstrip()}\n```"


def memory(_: str) -> str:
    """The table that `python -m moalign.training.memory` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        importlib.import_module("moalign.training.memory").main()
    return shown.getvalue().strip()


MAKERS = {"settings": settings, "help": help_page, "memory": memory}
