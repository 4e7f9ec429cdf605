"""The parts of a corpus: tables, ids, partitions, files and manifests. No Beam, no models."""
