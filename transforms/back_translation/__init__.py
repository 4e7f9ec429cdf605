"""Back-translation positives: captions are translated to a pivot language and back, and sound paraphrases are kept."""
