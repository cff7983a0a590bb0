"""Stage 5, `captions`: facts first, then prose; and what they cost."""
