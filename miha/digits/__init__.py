"""Handwritten digits, the article's second experiment: nothing of rasters is in the algorithm."""
