"""Captioning backends: our captioner, transformers models, OpenAI-compatible endpoints, open_clip."""
