"""TF-IDF hard negatives: for each caption, the most similar captions of other images (UNIMO, Li et al. 2021, section 3.3).

Pure functions over Arrow record batches, NumPy arrays and SciPy CSR matrices, in stage order: `counts` (words of a
partition), `vocabulary` (document frequencies of the corpus), `vectors` (unit vectors of a partition), `champions` (bounded
postings), `negatives` (top-k, guards and output of a partition), `recall` (bounded search against exact search).
"""
