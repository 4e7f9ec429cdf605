"""One capability a file: pure functions over Arrow record batches, and the thin Beam transforms that run them."""
