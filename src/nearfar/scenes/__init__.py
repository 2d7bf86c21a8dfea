"""Scenes of several views: reading them, their points, checking them, learning them, rendering them."""
