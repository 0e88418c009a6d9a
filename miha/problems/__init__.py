"""What is learned: problems as the tuner knows them, their samples, and how a trained network is judged."""
