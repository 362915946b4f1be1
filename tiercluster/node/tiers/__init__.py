"""The three tiers of a node: hot and warm in memory, cold on disk."""
