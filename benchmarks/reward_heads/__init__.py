"""Reward heads on real data: accuracy, missing labels, users, decorrelation, cycles, speed."""
