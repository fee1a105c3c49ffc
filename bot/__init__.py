"""The conversation, written once, and the surfaces that show it."""
