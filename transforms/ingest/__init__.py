"""Turns existing collections into clean pairs, images and texts."""
