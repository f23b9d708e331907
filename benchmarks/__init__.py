"""Side-by-side measurements; each prints a table and writes JSON."""

import os

# Both are read when torch and the hub client are imported, so they stand before any benchmark's imports.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
