"""Turn a weight vector into a model: exact adapter mixing, export, low-rank truncation, LoRA folders without a model, and merging of whole checkpoints.

- `adapters.AdapterMixture` mixes LoRA experts per row of a batch; `export` writes one point as an exact LoRA or merged weights; `truncate` as the best LoRA of a lower rank, with its error.
- `merged_export` streams merged weights from files without a model; `lora_writing` writes sums of adapters as one; `replace_export` puts a result in place whole.
- `lora_folder.LoraFolder` reads any PEFT LoRA folder and gives its exact weight changes.
- `merging` merges full checkpoints and LoRA folders, streamed (`moalign merge`).
- `soup` searches for soups, global or per block of layers, and exports one (`moalign soup`).
- `online` merges a reference change into every optimizer step (OnDARE, OnTIES).
"""
