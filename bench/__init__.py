"""Side-by-side measurements, each a command: ``python -m bench.speed``, ``bench.mnist``, ``bench.gapfill``."""
