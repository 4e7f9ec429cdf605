"""Regions of images: detected, or read from files that people hold."""
