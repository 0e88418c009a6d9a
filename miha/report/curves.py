"""The figures of an epoch by the names that dashboards group them under."""

from miha.records.record import Epoch


def figures(epoch: Epoch) -> dict[str, float]:
    """Name → value, of those that are finite."""
    found = {"loss/training": epoch.train_loss, "loss/validation": epoch.valid_loss, "lr": epoch.lr}
    found |= {f"metric/{name}": value for name, value in epoch.metrics.items()}
    return {name: value for name, value in found.items() if value is not None}
