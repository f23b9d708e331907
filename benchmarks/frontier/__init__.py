"""Pareto tools against the fastest public code, and statistics against simulated truths."""
