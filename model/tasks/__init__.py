"""Fine-tuning, one task a file: its settings, its loss (an objective) and its metric."""
