"""Stages 7 and 8, `media` and `dataset`: the clips' files, the two tables, the card."""
