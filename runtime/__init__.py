"""What apps run on: one module per driver, and the images that they need. Of the engine only its ports are known here."""
