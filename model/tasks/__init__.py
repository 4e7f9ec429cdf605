"""Fine-tuning tasks, one per file: settings and loss (an objective)."""
