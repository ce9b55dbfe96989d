"""Pictures of data, latent spaces and training: plain functions that write PNG files."""
