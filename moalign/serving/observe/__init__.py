"""Let operators see what a server does: a record of each request, as a line in the log and as numbers for Prometheus."""
