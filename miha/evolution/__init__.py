"""The search: points of the hyperparameter space, operators that change them, fitness, and seeds."""
