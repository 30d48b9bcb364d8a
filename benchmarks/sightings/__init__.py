"""Measurement of sightings: linking and ranking, with known identities."""
