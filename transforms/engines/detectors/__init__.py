"""Detectors: engines that find regions in images and give each a feature, soft labels and a class."""
