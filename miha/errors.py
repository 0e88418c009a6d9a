"""Errors, with messages for the person at the keyboard.

Every error that MIHA raises on purpose is a :class:`MihaError`; its message says what is wrong, where, the value,
and what to do. The command line prints it on one line and exits with 2.
"""


class MihaError(Exception):
    """Root of all errors raised on purpose by MIHA."""


class ConfigError(MihaError):
    """A configuration has unknown keys or values out of range; the message lists all of them."""


class DataError(MihaError):
    """A data set cannot be used: a missing folder, a bad raster, scenes that do not fit together."""


class ArchiveError(MihaError):
    """A model archive is truncated, altered, not ours, or made for other inputs."""


class StorageError(MihaError):
    """The file system refused to take a file; this may pass, so a stage that met it is tried again."""


class RunError(MihaError):
    """A run cannot go on: its directory holds other work, is in use, or too few candidates survived."""
