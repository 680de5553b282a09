"""The engine: the modern API that the doors translate to.  Imports go one way: see docs/architecture.md."""
