"""The HTTP front: the API under /api/v1, health, metrics, and the pages that visitors meet."""
