"""Serve one steerable policy to everyone: a weight vector per request, batched together, through the OpenAI-compatible API.

```python
from moalign.serving import serve

serve("runs/demo/policy", port=8000)  # the same as `moalign serve runs/demo/policy --port 8000`
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.serving.api import create_app
    from moalign.serving.engine import Engine
    from moalign.serving.request import GenerationRequest, GenerationTimeout, QueueFull
    from moalign.serving.run import ServeConfig, serve

__all__ = ["Engine", "GenerationRequest", "GenerationTimeout", "QueueFull", "ServeConfig", "create_app", "serve"]

_HOME = {
    "Engine": "engine",
    "GenerationRequest": "request",
    "GenerationTimeout": "request",
    "QueueFull": "request",
    "ServeConfig": "run",
    "create_app": "api",
    "serve": "run",
}


def __getattr__(name: str) -> Any:
    # Importing the package must stay cheap: torch and fastapi come with the first name that needs them.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"moalign.serving.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
