"""The JSON files of a catalogue beside filled scenes: where they lie, and whether MIHA wrote what lies there."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from miha.errors import DataError

COLLECTION = "collection.json"
ASSETS = {"data", "std", "source"}  # of an item: the filled scene and its two maps
SUBJECT = "its gaps filled"  # with which the description of a collection ends


def item_of(target: Path) -> Path:
    """Where the STAC item of a filled scene lies."""
    return target.with_suffix(".json")


def is_own_item(path: Path) -> bool:
    """True for the item of a filled scene that MIHA wrote; False for any other file, and where there is none."""
    item = _content(path, "Feature")
    assets = item.get("assets")
    return isinstance(assets, dict) and {*assets} == ASSETS


def is_own_collection(path: Path) -> bool:
    """True for a collection of filled scenes that MIHA wrote; False for any other file, and where there is none."""
    return str(_content(path, "Collection").get("description")).endswith(SUBJECT)


def check_replaceable(targets: Iterable[Path], collection: bool = False) -> None:
    """Find out whether a catalogue of filled scenes would overwrite what is none of MIHA's.

    Args:
        targets: the filled scenes.
        collection: whether their folders get a collection, too.

    Raises:
        DataError: a file with the name of an item or a collection that MIHA did not write.
    """
    targets = list(targets)
    foreign = [item for item in map(item_of, targets) if item.exists() and not is_own_item(item)]
    if collection:
        files = sorted({target.parent / COLLECTION for target in targets})
        foreign += [file for file in files if file.exists() and not is_own_collection(file)]
    if foreign:
        raise DataError(
            f"{foreign[0]} exists and was not written by MIHA, so no STAC description (--stac) takes its place. Rename "
            "it, or choose another --out."
        )


def _content(path: Path, kind: str) -> dict[str, Any]:
    """A STAC object of a type; empty if a file holds none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    known = isinstance(content, dict) and content.get("type") == kind and "stac_version" in content
    return content if known else {}
