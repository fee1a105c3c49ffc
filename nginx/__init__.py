"""The edge: the web server in front, its configuration, and the modules that render and apply it."""
