"""Keep the notes of the libraries underneath from burying our own output, unless `--verbose` asks for them."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LIBRARIES = ("transformers", "datasets", "peft", "trl", "accelerate", "huggingface_hub", "torch", "httpx", "matplotlib")
OURS = ("moalign", "reward_heads", "frontier")

_verbose: ContextVar[bool] = ContextVar("verbose", default=False)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"moalign: {record.levelname.lower()}: {record.getMessage()}"


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Inside: our own warnings appear as `moalign: warning: ...` on stderr, those of the libraries only if they are errors.

    Args:
        verbose (`bool`): let the libraries speak as they like.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not verbose:
        # Read when the libraries are imported, which is later than this.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    handler = logging.StreamHandler()
    handler.setFormatter(_Format())
    handler.addFilter(_main_process)
    ours = [logging.getLogger(name) for name in OURS]
    libraries = [] if verbose else [logging.getLogger(name) for name in LIBRARIES]
    levels = [(logger, logger.level) for logger in libraries]
    token = _verbose.set(verbose)
    for logger in ours:
        logger.addHandler(handler)
    for logger in libraries:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore", FutureWarning)
                warnings.simplefilter("ignore", DeprecationWarning)
                for name in LIBRARIES:
                    warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
            yield
    finally:
        _verbose.reset(token)
        for logger in ours:
            logger.removeHandler(handler)
        for logger, level in levels:
            logger.setLevel(level)


def hide_loading_bars() -> None:
    """Hide the bars of transformers ("Loading weights") and datasets ("Map"); those of training, sampling and downloads stay."""
    if _verbose.get():
        return
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _main_process(record: logging.LogRecord) -> bool:
    return os.environ.get("RANK", "0") == "0"
