"""Runs stages: rows in batches that are committed once, on this machine or on Ray."""
