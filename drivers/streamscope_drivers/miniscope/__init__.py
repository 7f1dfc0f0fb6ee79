"""Miniscopes behind the DAQ box, and other UVC cameras, as live sources.

Read `capture.py` first: the way of a frame. Then `startup.py` (what is sent, and in which order), `devices.py` (the
bytes of each type) and `camera.py` (the one place that knows OpenCV and the operating system).
"""
