"""From the collections people hold to clean pairs, images and texts."""
