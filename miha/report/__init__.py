"""What people look at: tables of errors, figures, and the page of a run."""
