import pytest
from pydantic import BaseModel

from miha.documents import read_document
from miha.errors import ArchiveError, RunError


class Part(BaseModel):
    size: int


class Kept(BaseModel):
    name: str
    parts: list[Part]


REMEDY = "Remove it and begin anew."
WHOLE = '{"name": "a", "parts": [{"size": 1}, {"size": 2}]}'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kept.json"


def message_of(file, failure=RunError):
    with pytest.raises(failure) as caught:
        read_document(file, Kept, failure, REMEDY)
    return str(caught.value)


def test_a_whole_file_is_read(file):
    file.write_text(WHOLE)
    assert read_document(file, Kept, RunError, REMEDY) == Kept(name="a", parts=[Part(size=1), Part(size=2)])


@pytest.mark.parametrize("content", [b"", b"{", WHOLE[:-10].encode(), b"\xff\xfe\x00", b"[" * 5000])
def test_what_is_no_json_is_reported_with_file_and_remedy(file, content):
    file.write_bytes(content)
    message = message_of(file)
    assert message.startswith(f"{file} is damaged: Invalid JSON")
    assert message.endswith(f". {REMEDY}")


@pytest.mark.parametrize(
    ("content", "key", "what"),
    [
        ('{"parts": []}', "name", "Field required"),
        ('{"name": "a", "parts": [{"size": 1}, {}]}', "parts.1.size", "Field required"),
        ('{"name": 5, "parts": []}', "name", "Input should be a valid string"),
        ('{"name": "a", "parts": {}}', "parts", "Input should be a valid array"),
        ('{"name": "a", "parts": [{"size": "big"}]}', "parts.0.size", "Input should be a valid integer"),
        ('{"name": null, "parts": []}', "name", "Input should be a valid string"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_reported_with_file_and_remedy(file, content, key, what):
    file.write_text(content)
    message = message_of(file)
    assert message.startswith(f"{file} is damaged: {key}: {what}")
    assert message.endswith(f". {REMEDY}")


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_json_of_another_kind_is_reported(file, content):
    file.write_text(content)
    assert message_of(file).startswith(f"{file} is damaged: Input should be")


def test_a_file_that_cannot_be_read_is_reported_with_the_reason(file):
    assert message_of(file) == f"{file} cannot be read (No such file or directory). {REMEDY}"
    file.mkdir()
    assert message_of(file) == f"{file} cannot be read (Is a directory). {REMEDY}"


def test_the_error_is_of_the_class_that_was_asked_for(file):
    file.write_text("{}")
    assert "name: Field required" in message_of(file, ArchiveError)
