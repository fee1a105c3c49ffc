"""The conversation itself: pure steps from (state, input) to (state, screen, command). It knows no platform."""
