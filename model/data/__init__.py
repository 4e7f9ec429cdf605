"""The data side of training: shards, order of samples, draws, batches. It knows the corpus through `schemas` alone."""
