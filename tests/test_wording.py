from miha.wording import meant, plural


def test_a_noun_agrees_with_its_count():
    assert [plural(count, "day") for count in (0, 1, 2)] == ["0 days", "1 day", "2 days"]


def test_a_misspelt_word_is_answered_with_the_one_that_it_is_like():
    assert meant("epoch", ["seed", "epochs"]) == "; did you mean 'epochs'?"
    assert meant("speed", ["cycles"]) == ""
