"""English for the stages: WordNet, inflection, number, and closed word lists."""
