"""Measurements of this project: speed and ablation. Not installed."""
