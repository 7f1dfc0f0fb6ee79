"""Rules on traces, and the gate below them. Pure: no clock, files only when a rules file is read, no threads."""
