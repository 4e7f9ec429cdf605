"""The training of the embedded detector on scenes with a known truth."""
