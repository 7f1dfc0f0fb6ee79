"""Outputs: where decisions go. Each is a module with `open_output(spec, name, tell)`, found by its entry point."""
