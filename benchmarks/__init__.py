"""Side-by-side measurements with peers; each prints one ratio."""
