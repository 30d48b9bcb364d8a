"""Ablation: variants of a config, trained over seeds, in one table.

Modules: variants, detector (shared weights), runs, run_metrics (one run), summary (a variant over
its seeds), table.
"""
