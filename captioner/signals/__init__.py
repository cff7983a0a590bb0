"""Scores of clips: what the filters select by."""
