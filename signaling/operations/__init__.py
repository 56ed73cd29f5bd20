"""What those who run a server see: metrics, health, the operator's page, logs and spans of calls."""
