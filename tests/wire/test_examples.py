"""The examples for other programs: their layout against the golden record, and run where their language is."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import zmq

from streamscope.wire.endpoints import DEFAULT_ENDPOINT, parse_endpoint
from streamscope.wire.keys import Client, make_pair, write_allowed
from streamscope.wire.latest import unpack_latest

from .conftest import Running

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GOLDEN = Path(__file__).parents[1] / "golden" / "wire" / "latest.hex"
MATLAB = (EXAMPLES / "matlab" / "read_latest.m").read_text("utf-8")
CSHARP = EXAMPLES / "bonsai" / "Extensions" / "ReadLatest.cs"
RECORD = bytes.fromhex(GOLDEN.read_text("ascii").strip())
ARRAYS = ("ids", "y", "c", "s", "c_lag", "s_lag")


def expected():
    """Return the golden record as a map, as this package reads it."""
    record = unpack_latest(RECORD)
    names = (
        "epoch",
        "frame",
        "t_capture_ns",
        "t_result_ns",
        "t_publish_ns",
        "flags",
        "gap",
        "lag",
        "hw",
        "seq",
    )
    values = {name: getattr(record, name) for name in names}
    values |= {"n": len(record.ids), "quality": record.quality, "shift": list(record.shift)}
    return values | {name: getattr(record, name).tolist() for name in ARRAYS}


def typecast(first, last, kind):
    """Do what MATLAB's typecast(msg(first:last), kind) does."""
    dtype = {"single": "<f4"}.get(kind, f"<{kind[0]}{int(re.sub(r'[^0-9]', '', kind) or 0) // 8}")
    return np.frombuffer(RECORD[first - 1 : last], dtype).tolist()


def test_the_ranges_of_the_matlab_reader_are_those_of_the_record():
    got = {}
    n = len(expected()["ids"])
    for name, body in re.findall(r"^record\.(\w+) = (.*);$", MATLAB, re.MULTILINE):
        values = []
        for first, last, kind in re.findall(r"typecast\(msg\(([^:]+):([^)]+)\), '(\w+)'\)", body):
            value = typecast(*(eval(place, {}, {"n": n}) for place in (first, last)), kind)
            values += value
        got[name] = values if name in (*ARRAYS, "shift") else values[0] if values else n
    assert got == expected()


def test_the_offsets_of_the_bonsai_operator_are_those_of_the_record():
    source = CSHARP.read_text("utf-8")
    kinds = {"UInt32": "<u4", "Int64": "<i8", "UInt64": "<u8", "Single": "<f4"}
    got = {
        name: np.frombuffer(RECORD, kinds[kind], 1, int(at))[0].item()
        for name, kind, at in re.findall(r"(\w+) = BitConverter\.To(\w+)\(b, (\d+)\)", source)
    }
    want = expected()
    named = {
        **{"Epoch": "epoch", "Frame": "frame", "CaptureNs": "t_capture_ns", "ResultNs": "t_result_ns"},
        **{"PublishNs": "t_publish_ns", "Quality": "quality", "Flags": "flags", "Gap": "gap", "Lag": "lag"},
        **{"HardwareCount": "hw", "Sequence": "seq"},
    }
    assert got == {ours: want[theirs] for ours, theirs in named.items()} | {
        "ShiftY": want["shift"][0],
        "ShiftX": want["shift"][1],
    }
    copies = re.findall(r"BlockCopy\(b, HeadBytes(?: \+ (\d+) \* n)?, record\.(\w+), 0, 4 \* n\)", source)
    assert [(int(at or 0), name) for at, name in copies] == [
        *((0, "Ids"), (4, "Y"), (8, "C"), (12, "S"), (16, "CLag"), (20, "SLag"))
    ]
    assert f"ToUInt32(b, {RECORD.index(len(want['ids']).to_bytes(4, 'little'), 8)})" in source
    assert re.search(r"HeadBytes = (\d+);", source).group(1) == "88"


def test_the_workflow_subscribes_to_latest_and_reads_it_with_the_operator():
    root = ElementTree.parse(EXAMPLES / "bonsai" / "latest.bonsai").getroot()
    space = {
        "b": "https://bonsai-rx.org/2018/workflow",
        "zmq": "clr-namespace:Bonsai.ZeroMQ;assembly=Bonsai.ZeroMQ",
    }
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    nodes = root.findall("b:Workflow/b:Nodes/b:Expression", space)
    assert [node.get(kind) for node in nodes] == [
        "Combinator",
        "MemberSelector",
        "Combinator",
        "MemberSelector",
    ]
    subscriber = nodes[0].find("b:Combinator", space)
    assert subscriber.get(kind) == "zmq:Subscriber"
    assert (
        subscriber.find("zmq:ConnectionString", space).text == ">" + parse_endpoint(DEFAULT_ENDPOINT).latest
    )
    assert subscriber.find("zmq:Topic", space).text == "latest/"
    assert nodes[1].find("b:Selector", space).text == "Last.Buffer"
    assert nodes[2].find("b:Combinator", space).get(kind) == "streamscope:ReadLatest"
    source = CSHARP.read_text("utf-8")
    assert "namespace StreamScope" in source
    assert "public class ReadLatest" in source
    assert f"public float[] {nodes[3].find('b:Selector', space).text} " in source
    edges = [(edge.get("From"), edge.get("To")) for edge in root.findall("b:Workflow/b:Edges/b:Edge", space)]
    assert edges == [("0", "1"), ("1", "2"), ("2", "3")]


def test_the_bridge_gives_programs_without_keys_what_asks_for_keys(tmp_path, result):
    make_pair(tmp_path / "rig", "session")
    pair = make_pair(tmp_path / "bonsai", "bonsai")
    (tmp_path / "bonsai" / "session.key").write_bytes((tmp_path / "rig" / "session.key").read_bytes())
    write_allowed(tmp_path / "rig", {"bonsai": Client("bonsai", pair.public, command=False)})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    session = Running(keys=tmp_path / "rig")
    publisher = session.start()
    command = [
        sys.executable,
        EXAMPLES / "bridge.py",
        publisher.endpoints.data,
        str(port),
        tmp_path / "bonsai",
    ]
    try:
        with subprocess.Popen(command) as bridge, zmq.Context() as context, context.socket(zmq.SUB) as plain:
            plain.linger = 0
            plain.subscribe(b"latest/")
            plain.connect(f"tcp://127.0.0.1:{port}")
            deadline = time.monotonic() + 20
            frame = 0
            while not plain.poll(20):
                assert time.monotonic() < deadline
                session.do(publisher.publish_result, result(frame))
                frame += 1
            assert unpack_latest(plain.recv()).frame < frame
            bridge.kill()
    finally:
        session.end()


@pytest.mark.system
def test_octave_reads_the_record(tmp_path):
    octave = shutil.which("octave-cli") or shutil.which("octave")
    if octave is None:
        pytest.skip("needs GNU Octave")
    (tmp_path / "record.bin").write_bytes(RECORD)
    code = (
        f"addpath('{EXAMPLES / 'matlab'}'); f = fopen('{tmp_path / 'record.bin'}'); m = fread(f, Inf, '*uint8'); "
        "r = read_latest(m); s = read_latest(typecast(m, 'int8')); assert(isequal(r, s)); "
        "printf('%d %d %d %g %g %g\\n', r.frame, r.hw, r.seq, r.shift(2), r.c(r.ids == 8), r.s_lag(2)); "
        "try, read_latest(m(1:100)); catch e, disp(e.identifier); end"
    )
    done = subprocess.run([octave, "--eval", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["41 1042 41 -1.25 1.5 2.5", "streamscope:record"]


STUBS = """
namespace Bonsai {
  public class CombinatorAttribute : System.Attribute { }
  public enum ElementCategory { Transform }
  public class WorkflowElementCategoryAttribute : System.Attribute {
    public WorkflowElementCategoryAttribute(ElementCategory category) { }
  }
}
namespace System.Reactive.Linq {
  public static class Observable {
    public static System.IObservable<B> Select<A, B>(this System.IObservable<A> s, System.Func<A, B> f) {
      return null;
    }
  }
}
class Program {
  static void Main(string[] args) {
    var r = StreamScope.ReadLatest.Read(System.IO.File.ReadAllBytes(args[0]));
    System.Console.WriteLine(string.Join(" ", r.Frame, r.HardwareCount, r.Sequence, r.ShiftX, r.Cell(8), r.SLag[1]));
    try { StreamScope.ReadLatest.Read(new byte[100]); }
    catch (System.InvalidOperationException e) { System.Console.WriteLine(e.Message); }
  }
}
"""


@pytest.mark.system
def test_mono_compiles_and_runs_the_bonsai_operator(tmp_path):
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        pytest.skip("needs Mono")
    (tmp_path / "record.bin").write_bytes(RECORD)
    (tmp_path / "stubs.cs").write_text(STUBS)
    program = tmp_path / "program.exe"
    subprocess.run(["mcs", f"-out:{program}", str(CSHARP), str(tmp_path / "stubs.cs")], check=True)
    done = subprocess.run(
        ["mono", program, tmp_path / "record.bin"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "41 1042 41 -1.25 1.5 2.5"
    assert "no record of latest/" in done.stdout
