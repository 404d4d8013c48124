"""The simulator: the live loop with gold labels as the annotator, and the papers' experiments."""
