"""What `moalign soup ACTION` can do; each action is a module with `command()` and `run(arguments)`."""

ACTIONS = {
    "search": "find the soups of several experts that give the best front under a vector of rewards",
    "export": "write a soup of a searched front as one LoRA or a merged model",
}
"""Action to what it does."""
