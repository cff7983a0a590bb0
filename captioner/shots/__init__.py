"""Stage 2, `shots`: files become clips, and clips can be read."""
