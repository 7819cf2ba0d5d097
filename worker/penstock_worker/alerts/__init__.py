"""The alert rules: one source for monitoring/alerts.yml, for the chart and for `penstock alerts render`."""
