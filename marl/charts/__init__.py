"""Charts and HTML for reports."""
