"""Hone and its peers, measured side by side. `make bench`; what came out is in docs/benchmarks.md."""
