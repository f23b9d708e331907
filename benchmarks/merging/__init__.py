"""Merging whole models, and truncating adapters, beside the tools that people use for it."""
