"""Compiled loops: arrays and scalars in, given arrays filled, the GIL released."""
