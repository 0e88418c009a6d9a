import json

from bench.process import ALIKE, ROWS, WHOLE, main


def test_every_part_of_the_process_is_taken_away_once(simulated, tmp_path):
    document = tmp_path / "results.md"
    main([simulated], gaps=2, processes=1, results=tmp_path, document=document)
    (gaps,) = json.loads((tmp_path / "process.json").read_text())["results"].values()
    for one in gaps.values():
        assert one["errors"].keys() == set(ROWS)
        assert one["errors"][ALIKE] != one["errors"][WHOLE]
    page = document.read_text()
    assert all(f"| {row} |" in page for row in ROWS)
