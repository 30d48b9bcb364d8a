"""Readers of dataset formats: custom JSON, published person-search datasets, MOT."""
