"""Networks of fixed topology. Every activation is a module of its own, so that it can be found by type and changed."""
