"""Writing runs. Nothing here renders: figures, reports and notes are handed in."""
