"""What a corpus is made of: tables, ids, partitions, files, manifests. No Beam, no models."""
