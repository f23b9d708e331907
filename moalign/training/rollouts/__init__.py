"""Completions drawn during training, for a batch of prompts and preferences."""
