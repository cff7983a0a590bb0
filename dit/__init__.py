"""The denoiser: a Diffusion Transformer with a noise level per frame, its flow, its sizes and its training."""
