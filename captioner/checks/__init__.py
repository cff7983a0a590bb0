"""What a caption must pass before it is believed: form, grounding in its facts, agreement with pixels, domain."""
