"""Filling cloud gaps of raster scenes: first guess, networks, training samples, filling, judging, maps, release."""
