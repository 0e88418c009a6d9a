"""What may change while a network trains: a file and a class for each, found by being here."""

import importlib
import pkgutil

from miha.evolution.hyperparameter import Hyperparameter

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

HYPERPARAMETERS: dict[str, Hyperparameter] = {
    kind.name: kind() for kind in sorted(Hyperparameter.__subclasses__(), key=lambda kind: kind.code)
}
