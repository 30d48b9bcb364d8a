"""Sightings of people: detections of one source linked to tracklets; knows no model."""
