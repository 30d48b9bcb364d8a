"""Sightings: tracklets by linking, strangers as alike, verdicts, coverage; knows no model."""
