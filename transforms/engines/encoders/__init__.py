"""Sentence encoders: texts in, unit vectors out (`sentence.SentenceEncoder`)."""
