"""What training costs: steps per second and memory beside TRL, one steerable run beside one run per preference."""
