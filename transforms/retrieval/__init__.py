"""Images and texts retrieved for each pair from the collections without captions and without images (UNIMO's X^I and X^T)."""
