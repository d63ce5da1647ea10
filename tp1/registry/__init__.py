"""Models out: promotion, download, prediction, and the move to another store."""
