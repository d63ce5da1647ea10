"""From arrays to logits: the networks, and the weights that they start from."""
