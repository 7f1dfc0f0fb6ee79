"""The engine: numbers only. No I/O, threads, clock, environment or logging in the frame path."""
