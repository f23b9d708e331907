"""Every trainer in worlds whose optimum is known exactly: `python -m benchmarks.oracle --json out.json`."""
