"""Back-translation positives: captions translated to a pivot language and back, and which of the results are kept."""
