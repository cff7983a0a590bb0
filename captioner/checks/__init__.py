"""Stage 6, `checks`: what a caption must pass before it is believed, held against facts, pixels and domain."""
