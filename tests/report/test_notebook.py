import miha


def test_a_notebook_shows_a_run_in_some_lines_with_a_link_to_its_report(tiny_config):
    run = miha.optimize(tiny_config("<b>run"))
    told = run._repr_html_()
    assert f"validation loss {run.best.valid_loss:.4f}" in told
    assert "&lt;b&gt;run" in told
    assert (run.run_dir / "report.html").as_uri() in told
    assert len(told) < 1500
