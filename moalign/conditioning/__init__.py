"""Ways to tell the policy its preference."""
