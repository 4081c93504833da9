"""Training: losses, discriminator, optimiser, data, trainer."""
