"""Training: the epoch loop, the stages made of it, and the processes in which they run."""
