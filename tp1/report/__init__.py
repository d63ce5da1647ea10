"""From runs to tables, figures and pages."""
