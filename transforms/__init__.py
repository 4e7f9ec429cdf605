"""One capability a file: pure functions over Arrow record batches, and the thin Beam transforms that run them."""

from transforms.core.instructions import hold

hold(True)  # before an engine can be loaded, in every process
