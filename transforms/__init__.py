"""One capability a file: pure functions over Arrow record batches, and the thin Beam transforms that run them."""

import os

from transforms.core.instructions import RELEASED, hold

hold(RELEASED not in os.environ)  # before an engine can be loaded, in every process
