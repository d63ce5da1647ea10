"""Tables, figures and pages made from tracked runs."""
