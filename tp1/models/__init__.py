"""The networks, which map images to logits, and the weights that they start from."""
