"""Text in: encoders that condition the denoiser, and the captioner that trains ours."""
