"""Turn a weight vector into a model: exact adapter mixing, export, low-rank truncation, LoRA folders without a model, and merging of whole checkpoints.

- `adapters.AdapterMixture` mixes LoRA experts per row of a batch; `export` writes one point as an exact LoRA or merged weights; `truncate` as the best LoRA of a lower rank, with its error.
- `lora_folder.LoraFolder` reads any PEFT LoRA folder and gives its exact weight changes.
- `merging` merges full checkpoints and LoRA folders, streamed (`moalign merge`).
- `online` merges a reference change into every optimizer step (OnDARE, OnTIES).
"""
