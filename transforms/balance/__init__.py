"""Blind balance: swaps are selected for a text-only model to be unable to tell them from captions."""
