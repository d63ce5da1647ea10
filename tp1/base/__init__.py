"""Text, files, folders and signals: what every other room stands on."""
