"""Benchmarks that measure latency and cost, and the demo."""
