"""The tracking store: its address, access to it, and reading runs from it."""
