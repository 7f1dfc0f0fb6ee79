"""Webcams that look at the animal, beside a scope: pictures with times by the clock of the scope's frames.

`capture.py` is the way of a picture from the camera, `source.py` what is done with it afterwards, `pictures.py` what
raw pictures can be, `link.py` how a camera is opened.
"""
