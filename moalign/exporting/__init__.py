"""Turn a point of a policy into what tools without moalign load: one LoRA, merged weights, or a static grid of LoRAs; each with a card that says what it is.

- `source.ExportSource` is a policy as it lies on the disk: a bundle, or plain LoRA folders over a base; nothing is loaded.
- `point.export_point` writes one preference, `grid.export_grid` many for servers that take fixed adapters.
- `live.export_policy` is the same for a policy in memory (`SteerablePolicy.export`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.exporting.grid import export_grid
    from moalign.exporting.point import export_point
    from moalign.exporting.source import ExportSource

__all__ = ["ExportSource", "export_grid", "export_point"]

_HOMES = {"ExportSource": "source", "export_grid": "grid", "export_point": "point"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"moalign.exporting.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
