"""Models behind one small protocol a kind: parsers, translators, sentence encoders, detectors."""
