"""Better prompts: by rules that know a model's words, or by a text model."""
