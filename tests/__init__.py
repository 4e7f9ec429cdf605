"""Tests, one room beside each room of the project."""
