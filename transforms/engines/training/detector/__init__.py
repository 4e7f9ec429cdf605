"""Training of the embedded detector on synthetic scenes with known ground truth."""
