"""What an operator watches Penstock with: alert rules and the Grafana dashboard, and the scripts that make them."""
