"""The chat's page: a template, and the files that it loads."""
