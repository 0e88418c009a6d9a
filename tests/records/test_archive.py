import hashlib
import json
import pickle
import stat
import zipfile

import pytest
import torch

from miha.errors import ArchiveError, StorageError
from miha.evolution.change import Change
from miha.evolution.point import Hyperparameters
from miha.files import digest_json
from miha.records.archive import FORMAT_VERSION, Manifest, read_archive, read_manifest, write_archive
from miha.records.record import Epoch, StageId, StageRecord

POINT = Hyperparameters(optimizer="Adam", lr=0.001, batch_size=8, activations={"act": "ReLU"})
EPOCH = Epoch(epoch=1, train_loss=1.0, valid_loss=None, metrics={"mae": 0.5}, batch_size=8, optimizer="Adam", lr=0.001)
RECORD = StageRecord(
    stage=StageId(kind="candidate", cycle=1, candidate=2),
    parent=StageId(kind="initial", cycle=0),
    change=Change(operator="lr", target="lr", before=0.002, after=0.001),
    digest="d" * 64,
    hyperparameters=POINT,
    epochs=(EPOCH,),
)
MANIFEST = Manifest(record=RECORD, problem={"name": "tiny"}, input_shape=(2, 3), extras={"unit": "K"})
WEIGHTS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
OPTIMIZER = {"b/step": torch.tensor(4.0)}


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "model" / "model_init.zip"
    write_archive(path, MANIFEST, WEIGHTS, OPTIMIZER)
    return path


def rewritten(path, change):
    """The archive with its members passed through ``change(dict) -> dict``, as a stranger would write it."""
    with zipfile.ZipFile(path) as archive:
        members = change({name: archive.read(name) for name in archive.namelist()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_what_is_written_is_read_back(archive):
    manifest, weights, optimizer = read_archive(archive)
    assert manifest == MANIFEST == read_manifest(archive)
    assert manifest.input_shape == (2, 3)
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert torch.equal(optimizer["b/step"], OPTIMIZER["b/step"])


def test_equal_contents_give_equal_bytes(archive, tmp_path):
    write_archive(tmp_path / "again.zip", MANIFEST, dict(reversed(WEIGHTS.items())), OPTIMIZER)
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_a_missing_archive_is_reported(tmp_path):
    with pytest.raises(ArchiveError, match="no such archive"):
        read_archive(tmp_path / "none.zip")


@pytest.mark.parametrize("keep", [0, 10, 100, 0.5, -1, -30])
def test_a_truncated_archive_is_refused(archive, keep):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ArchiveError, match="truncated or no model archive"):
        read_archive(archive)


def test_any_altered_byte_of_weights_or_manifest_is_noticed(archive):
    content = bytearray(archive.read_bytes())
    for position in (content.find(b'"unit"') + 2, content.rfind(b"\x00\x00\xa0\x40")):
        altered = bytearray(content)
        altered[position] ^= 1
        archive.write_bytes(altered)
        with pytest.raises(ArchiveError):
            read_archive(archive)


def test_an_alteration_that_keeps_the_zip_right_is_noticed(archive):
    def other_weights(members):
        return members | {"weights.safetensors": members["weights.safetensors"][:-1] + b"\x01"}

    with pytest.raises(ArchiveError, match="altered"):
        read_archive(rewritten(archive, other_weights))


def test_an_altered_manifest_is_noticed(archive):
    def longer(members):
        return members | {"manifest.json": members["manifest.json"].replace(b'"K"', b'"C"')}

    with pytest.raises(ArchiveError, match="altered"):
        read_manifest(rewritten(archive, longer))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"[]", "its manifest has no checksums"),
        (b"{}", "its manifest has no checksums"),
        (b"no json", "truncated or no model archive"),
        (b"[" * 100_000, "truncated or no model archive"),
        (b'{"checksums": {}}', "has format None, this MIHA reads"),
        (b'{"checksums": {}, "format_version": 99}', "has format 99, this MIHA reads"),
    ],
)
def test_what_is_not_ours_is_refused(archive, manifest, message):
    with pytest.raises(ArchiveError, match=message):
        read_manifest(rewritten(archive, lambda members: members | {"manifest.json": manifest}))


def test_a_file_that_is_no_zip_is_refused(archive):
    archive.write_text("hello")
    with pytest.raises(ArchiveError, match="no model archive"):
        read_archive(archive)


def test_other_members_are_refused(archive):
    for name in ("extra.txt", "../escape.txt", "/etc/passwd"):
        with pytest.raises(ArchiveError, match="nothing else"):
            read_archive(rewritten(archive, lambda members, name=name: {**members, name: b"x"}))


def with_checksum(manifest):
    """A manifest's JSON as a stranger would write it who knows how checksums are made."""
    return json.dumps(manifest | {"checksum": digest_json(manifest | {"checksum": None})}).encode()


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_an_archive_of_an_earlier_format_is_refused_with_what_to_do(archive, version):
    def earlier(members):
        manifest = json.loads(members["manifest.json"]) | {"format_version": version}
        return members | {"manifest.json": with_checksum(manifest)}

    with pytest.raises(ArchiveError, match=f"has format {version}, this MIHA reads {FORMAT_VERSION}. Train again"):
        read_archive(rewritten(archive, earlier))


def test_a_manifest_that_lacks_something_is_refused(archive):
    def without_record(members):
        manifest = json.loads(members["manifest.json"])
        del manifest["record"]["stage"]
        return members | {"manifest.json": with_checksum(manifest)}

    with pytest.raises(ArchiveError, match="has a manifest that cannot be understood: Field required"):
        read_archive(rewritten(archive, without_record))


def test_a_pickle_is_never_loaded(archive, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    def armed(members):
        members["weights.safetensors"] = pickle.dumps(Bomb())
        manifest = json.loads(members["manifest.json"])
        manifest["checksums"]["weights.safetensors"] = hashlib.sha256(members["weights.safetensors"]).hexdigest()
        return members | {"manifest.json": with_checksum(manifest)}

    with pytest.raises(ArchiveError, match="no readable tensors"):
        read_archive(rewritten(archive, armed))
    assert not (tmp_path / "ran").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(archive):
    with zipfile.ZipFile(archive) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, bytes(200_000_000) if name.startswith("weights") else data)
    with pytest.raises(ArchiveError, match="wrong size"):
        read_archive(archive)


def test_a_symbolic_link_is_refused_and_not_followed(archive, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(archive) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            link = name == "weights.safetensors"
            info.create_system, info.external_attr = 3, ((stat.S_IFLNK if link else stat.S_IFREG) | 0o777) << 16
            zipped.writestr(info, str(tmp_path / "secret") if link else data)
    with pytest.raises(ArchiveError, match="is a link"):
        read_archive(archive)


def test_a_full_disk_leaves_the_former_archive_and_no_half_file(archive, monkeypatch):
    before = archive.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("miha.files.os.fsync", full)
    with pytest.raises(StorageError, match=r"model_init\.zip: No space left"):
        write_archive(archive, MANIFEST, {}, {})
    assert archive.read_bytes() == before
    assert [path.name for path in archive.parent.iterdir()] == ["model_init.zip"]
