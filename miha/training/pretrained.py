"""A network to start from: the archive of an earlier run, of the same network on other data or on fewer days."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from miha.errors import ArchiveError
from miha.evolution.hyperparameter import Offer
from miha.files import digest_file
from miha.problems.evaluation import load_weights
from miha.problems.problem import Problem
from miha.records.archive import Archive, read_archive
from miha.training.loop import seeded


class Pretrained(BaseModel):
    """The archive whose weights a run starts from.

    Attributes:
        path: of the archive, absolute.
        digest: SHA-256 of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    digest: str

    def read(self) -> Archive:
        """The archive.

        Raises:
            ArchiveError: it is missing, damaged, or no longer the one that the run began with.
        """
        archive = read_archive(self.path)
        if digest_file(self.path) != self.digest:
            raise ArchiveError(f"{self.path} changed after the run had begun. Put it back, or begin a new run.")
        return archive


def open_pretrained(path: Path, problem: Problem, offer: Offer) -> tuple[Pretrained, dict[str, str]]:
    """Check that an archive fits a problem's network; returns it, and the activations that its network has.

    Args:
        path: of the archive, absolute.
        problem: that is to be learned.
        offer: what the problem and its network let change.

    Raises:
        ArchiveError: it is damaged, or of another network; the message names the settings that differ.
    """
    archive = read_archive(path)
    with seeded(0):
        network = problem.build_network()
    activations = archive.manifest.record.hyperparameters.activations
    try:
        if {*activations} != {*offer.activations}:
            raise ArchiveError(
                f"the archive's network has activations at {_listed(activations)}, this one at "
                f"{_listed(offer.activations)}"
            )
        load_weights(network, archive.weights)
    except ArchiveError as error:
        theirs, ours = archive.manifest.problem, problem.settings()
        differing = [
            f"{key} {theirs.get(key)!r} there, {ours.get(key)!r} here"
            for key in sorted({*theirs, *ours})
            if theirs.get(key) != ours.get(key)
        ]
        hint = f" Settings of the problem that differ: {'; '.join(differing)}." if differing else ""
        raise ArchiveError(f"training cannot start from {path}: {error}.{hint}") from error
    return Pretrained(path=path, digest=digest_file(path)), dict(activations)


def _listed(activations: Mapping[str, str]) -> str:
    return ", ".join(activations) or "no layer"
