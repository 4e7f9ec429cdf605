"""Detectors: find regions in images, each with a feature, soft labels and a class."""
