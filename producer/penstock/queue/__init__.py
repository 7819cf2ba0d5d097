"""The write queue in Redis. Only this package knows key names and scripts."""
