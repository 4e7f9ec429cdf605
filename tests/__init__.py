"""Tests; the packages mirror those of the project."""
