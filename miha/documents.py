"""Reading JSON files that MIHA wrote, and that somebody may have damaged or edited since."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from miha.errors import MihaError

_Document = TypeVar("_Document", bound=BaseModel)


def read_document(path: Path, kind: type[_Document], failure: type[MihaError], remedy: str) -> _Document:
    """A JSON file as a model.

    Args:
        path: the file.
        kind: what it must hold.
        failure: class of the error to raise.
        remedy: what to do if the file is damaged, a sentence.

    Raises:
        MihaError: of class ``failure``: it cannot be read, is no JSON, or a key is missing or wrong. The message names
            the file, the key, and the remedy.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise failure(f"{path} cannot be read ({error.strerror}). {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise failure(f"{path} is damaged: {f'{key}: ' if key else ''}{first['msg']}. {remedy}") from error
