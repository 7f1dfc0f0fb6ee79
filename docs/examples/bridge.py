"""Receive latest/ with keys, and give it to programs of this machine that have none, such as Bonsai.

    python bridge.py rig-3:5570 5572

They connect to tcp://127.0.0.1:5572 as if the session ran here.
"""

import sys
from pathlib import Path

import zmq

from streamscope.wire.endpoints import parse, parse_endpoint
from streamscope.wire.keys import keys_to_show

endpoint, port = sys.argv[1], int(sys.argv[2])
folder = Path(sys.argv[3]) if len(sys.argv) > 3 else None
keys = keys_to_show(parse(endpoint)[0], folder)

with zmq.Context() as context, context.socket(zmq.SUB) as far, context.socket(zmq.PUB) as near:
    if keys is not None:
        keys.lock(far)
    far.conflate = near.conflate = 1
    far.subscribe(b"latest/")
    far.connect(parse_endpoint(endpoint).latest)
    near.bind(f"tcp://127.0.0.1:{port}")
    while True:
        near.send(far.recv())
