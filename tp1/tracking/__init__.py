"""Writing runs to the tracking store. Callers pass figures, reports and notes in; this package makes none."""
