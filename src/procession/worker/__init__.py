"""What runs in a child.  Light to import: a worker pays for it at every start."""
