"""What `moalign reward ACTION` can do; each action is a module with `command()` and `run(arguments)`."""

ACTIONS = {
    "train": "train one head per objective on pairs and ratings",
    "probe": "fit linear heads on a frozen model's embeddings: the fast path",
    "gate": "learn which objectives count for which prompt, for requests that bring no preference",
    "evaluate": "accuracy, calibration, correlations and disagreements on held-out labels, as a page",
    "calibrate": "make the numbers mean what they say: temperature or isotonic maps, independence of length",
    "inspect": "what a saved reward is: objectives, training, scales, corrections",
}
"""Action to what it does."""
