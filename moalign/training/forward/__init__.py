"""One forward of a model for all that a loss asks of it, at the least cost: shared prompts, lengths, the output layer."""
