"""Stage 4, `filters`: which clips are kept, and which are copies of others."""
