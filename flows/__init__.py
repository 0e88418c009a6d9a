"""The DAGs that people schedule, and what they type."""
