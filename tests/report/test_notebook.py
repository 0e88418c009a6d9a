import miha


def test_a_notebook_shows_a_run_in_some_lines_with_a_link_to_its_report(tiny_config):
    run = miha.optimize(tiny_config("<b>run"))
    page = run._repr_html_()
    assert f"validation loss {run.best.valid_loss:.4f}" in page
    assert "&lt;b&gt;run" in page
    assert (run.run_dir / "report.html").as_uri() in page
    assert len(page) < 1500
