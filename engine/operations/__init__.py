"""What each kind of change does: plans of named steps, and the parts that they share."""
