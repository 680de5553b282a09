"""How fast procession is, measured side by side with its peers: `python -m benchmarks`."""
