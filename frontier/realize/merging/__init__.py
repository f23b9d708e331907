"""Merge whole models, or models with adapters, as a YAML file in mergekit's form says.

```python
from frontier.realize.merging import merge

merge(
    {
        "merge_method": "ties",
        "base_model": "Qwen/Qwen2.5-0.5B",
        "models": [
            {"model": "helpful", "parameters": {"weight": 0.6, "density": 0.5}},
            {"model": "Qwen/Qwen2.5-0.5B+brief_lora", "parameters": {"weight": 0.4}},
        ],
    },
    "merged",
)
```
"""

from frontier.realize.merging.config import MergeConfig
from frontier.realize.merging.merge import MergeReport, merge, merge_state_dicts

__all__ = ["MergeConfig", "MergeReport", "merge", "merge_state_dicts"]
