"""What serving a weight vector per request costs: tokens per second, waiting times and memory of the server under load, beside the base model and other ways to serve."""
