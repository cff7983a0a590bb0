"""Stage 1, `ingest`: what SOURCE holds, hashed and probed; what cannot be used is set aside with the reason."""
