"""What every run needs and leaves behind: checkpoints, records, signals, several processes."""
