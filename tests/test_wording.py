from miha.wording import plural


def test_a_noun_agrees_with_its_count():
    assert [plural(count, "day") for count in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
