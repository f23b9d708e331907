"""What steering costs: a batch in which every row has its own weights, beside the base model and beside other ways to the same function."""
