"""The trainer. It knows a corpus through `schemas` alone."""
