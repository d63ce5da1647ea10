"""What is run: one short module per experiment or tool. To add one, add a file here."""
