"""What the stages know of English: WordNet, inflection, number, and closed lists of words."""
