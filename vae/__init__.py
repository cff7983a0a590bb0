"""The causal spacetime autoencoder: model, losses, training, latent cache."""
