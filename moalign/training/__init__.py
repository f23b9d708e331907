"""The learners: online (rewards), direct (preference pairs), rejection (best of n)."""
