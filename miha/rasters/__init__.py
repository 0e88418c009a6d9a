"""Rasters: scene stacks, cloud gaps, what predicts a pixel, filling and writing, and a simulator."""
