"""The search: what may change about training, how a population is drawn, fitness, and seeds."""
