"""Blind balance: swaps are selected so that a text-only model cannot distinguish them from captions."""
