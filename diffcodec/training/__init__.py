"""Training: data, losses, optimisers, the loop."""
