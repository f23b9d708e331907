"""Keep a policy's adapters stacked for as long as any engine serves it."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from frontier.realize.adapters import AdapterMixture

_LOCK = threading.Lock()
_HELD: weakref.WeakKeyDictionary[AdapterMixture, tuple[int, ExitStack]] = weakref.WeakKeyDictionary()


@contextmanager
def frozen(mixture: AdapterMixture) -> Iterator[None]:
    """`mixture.frozen()` for several engines of one policy, which need not end in the reverse order of their starts."""
    with _LOCK:
        holders, held = _HELD.get(mixture, (0, ExitStack()))
        if not holders:
            held.enter_context(mixture.frozen())
        _HELD[mixture] = (holders + 1, held)
    try:
        yield
    finally:
        with _LOCK:
            holders, held = _HELD[mixture]
            _HELD[mixture] = (holders - 1, held)
            if holders == 1:
                held.close()
                del _HELD[mixture]
