"""Where runs are, and reading them."""
