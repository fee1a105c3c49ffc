"""What apps run on: one module per driver, and the images they need. Of the engine only its ports are known here."""
