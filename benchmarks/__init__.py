"""How fast procession is, measured side by side with the standard library: `python -m benchmarks`."""
