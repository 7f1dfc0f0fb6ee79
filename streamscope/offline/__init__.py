"""After the session: refit, export, quality control."""
