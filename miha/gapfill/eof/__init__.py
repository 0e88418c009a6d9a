"""Filling many days at once by empirical orthogonal functions: a few passes of linear algebra over a stack."""
