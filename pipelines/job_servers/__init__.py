"""What runners other than the local one require beyond Python: job servers, their class paths, worker pools."""
