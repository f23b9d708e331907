"""The learners, and what every run leaves behind."""
