"""Realised against expected strangers, on galleries of known people."""
