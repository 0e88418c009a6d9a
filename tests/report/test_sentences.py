import pandas as pd
import pytest

from miha.evolution.change import Change
from miha.records.tables import CHANGE_COLUMNS, POPULATION_COLUMNS
from miha.report.sentences import change_phrase, cycle_sentences


def row(change, **scores):
    texts = {key: "" if value is None else value for key, value in change.model_dump().items()}
    columns = {key: value if key == "crossed" else str(value) for key, value in texts.items()}
    columns["members"] = " ".join(map(str, change.members))
    given = {"cycle": 2, "candidate": 0, "fitness": 0.0, "level": 0.0, "rate": 0.0, "noise": 0.0, "status": "ok"}
    return {**given, "change": str(change), **columns, "selected": False, **scores}


def frame(*rows):
    return pd.DataFrame(rows, columns=POPULATION_COLUMNS)


FASTER = Change(operator="lr", target="lr", before=0.001, after=0.005)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (Change(), "no change"),
        (FASTER, "a learning rate five times as high (0.005)"),
        (Change(operator="lr", target="lr", before=0.01, after=0.002), "a learning rate a fifth as high (0.002)"),
        (Change(operator="batch_size", target="batch_size", before=16, after=8), "a batch size half as large (8)"),
        (Change(operator="weight_decay", target="weight_decay", before=0.0, after=0.001), "a weight decay of 0.001 in place of 0"),
        (Change(operator="optimizer", target="optimizer", before="Adam", after="SGD"), "the optimizer SGD in place of Adam"),
        (
            Change(operator="activation", target="encoder.2", after="GELU"),
            "GELU in place of what is written in the network as the activation encoder.2",
        ),
        (
            Change(operator="neuron_activation", target="encoder.2", before="ReLU", after="ReLU+Tanh#3"),
            "ReLU and Tanh, each in half of the channels, in place of ReLU as the activation encoder.2",
        ),
        (FASTER.model_copy(update={"crossed": True}), "a learning rate five times as high (0.005), tried in an earlier cycle,"),
        (FASTER.model_copy(update={"members": (2, 0, 1)}), "the mean of candidates 2, 0 and 1"),
    ],
)  # fmt: skip
def test_a_change_reads_like_a_phrase(change, phrase):
    assert change_phrase(pd.Series(row(change))[CHANGE_COLUMNS]) == phrase


def test_a_winner_is_described_with_its_gain_over_the_control_and_its_noise():
    rows = frame(row(Change(), level=0.02), row(FASTER, candidate=1, level=0.05, noise=0.01, selected=True))
    assert cycle_sentences(rows) == {
        2: "A learning rate five times as high (0.005) lowered the validation loss by 3.0 %, more than its noise of 1.0 %."
    }


def test_a_cycle_that_changed_nothing_says_so_and_counts_failures():
    rows = frame(row(Change(), selected=True), row(FASTER, candidate=1, status="failed: out of memory"))
    (sentence,) = cycle_sentences(rows).values()
    assert sentence == (
        "The one change that was tried did not lower the validation loss by more than its noise; nothing was changed. "
        "1 of 2 candidates failed."
    )


def test_a_cycle_of_the_control_alone_says_that_there_was_no_change_to_try():
    assert cycle_sentences(frame(row(Change(), selected=True))) == {2: "There was no change to try."}


def test_a_winner_beside_a_control_that_failed_has_no_gain():
    rows = frame(row(Change(), status="diverged"), row(FASTER, candidate=1, level=0.05, noise=0.01, selected=True))
    assert "its gain is not known" in cycle_sentences(rows)[2]


def test_a_mean_of_candidates_that_went_on_is_no_change_and_no_candidate_more():
    soup = Change(members=(0, 1))
    rows = frame(
        row(Change(), level=0.02),
        row(FASTER, candidate=1, level=0.03),
        row(soup, candidate=2, level=0.05, noise=0.01, selected=True),
    )
    assert cycle_sentences(rows) == {
        2: "The mean of candidates 0 and 1 lowered the validation loss by 3.0 %, more than its noise of 1.0 %."
    }


def test_candidates_that_stopped_early_did_not_fail():
    rows = frame(row(Change(), selected=True), row(FASTER, candidate=1, status="stopped"))
    (sentence,) = cycle_sentences(rows).values()
    assert sentence.endswith("nothing was changed. 1 of 2 stopped early.")
