"""Numbers for a reader: summary, dashboard, report."""
