"""Benchmarks, most of them side by side with a peer; those print one ratio."""
