"""Outputs that are told of decisions: files, LSL, MQTT."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
import socket
import subprocess
import threading
import time

import pytest

from streamscope.errors import ConfigError
from streamscope_drivers.outputs import csv_file, lsl, mqtt
from streamscope_drivers.outputs.worker import QUEUED, Worker

from .decisions import Reports, decision


def test_every_decision_is_a_line_and_the_file_is_new(tmp_path):
    path, reports = tmp_path / "decisions.csv", Reports()
    output = csv_file.open_output(f"csv:{path}", "file", reports.append)
    assert not output.fast
    for number in range(20):
        assert output.write(decision(number, reason='a "quoted", one\nof two lines', outcome="sham"))
    reports.until(20)
    output.close()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(20))
    assert tuple(rows[0]) == csv_file.COLUMNS
    assert (rows[3]["reason"], rows[3]["outcome"]) == ('a "quoted", one\nof two lines', "sham")
    assert json.loads(rows[3]["inputs"]) == {"cell": 4.5, "head": None}
    assert int(rows[3]["t_decision_ns"]) <= int(rows[3]["t_written_ns"])
    said = output.describe()
    assert (said["written"], said["dropped"], said["trouble"]) == (20, 0, "")
    assert said["latency_ms"]["p50"] <= said["latency_ms"]["max"] < 10_000
    with pytest.raises(ConfigError, match="is there already, and is not written over"):
        csv_file.open_output(f"csv:{path}", "file", reports.append)
    with pytest.raises(ConfigError, match="cannot be written"):
        csv_file.open_output(f"csv:{tmp_path}/no/such/folder.csv", "file", reports.append)


class Stuck(Worker):
    """A listener that hangs, then fails."""

    def __init__(self, tell) -> None:
        super().__init__("stuck:", "stuck", tell)
        self.go = threading.Event()

    def _put(self, decision):
        assert self.go.wait(10)
        if decision.number % 2:
            raise OSError("no space left on device")

    def _end(self):
        pass


def test_a_listener_that_hangs_delays_nobody_and_one_that_fails_goes_on():
    reports = Reports()
    output = Stuck(reports.append)
    output.start()
    start = time.monotonic()
    taken = sum(output.write(decision(k)) for k in range(QUEUED + 100))
    assert time.monotonic() - start < 1
    assert QUEUED <= taken <= QUEUED + 1
    assert "too slow" in reports.troubles(1)[0]
    output.go.set()
    reports.until(taken // 2)
    output.close()
    said = output.describe()
    assert said["written"] + said["dropped"] == QUEUED + 100
    assert "OSError: no space left on device" in reports.troubles(2)


@pytest.mark.parametrize(
    ("spec", "broker"),
    [
        ("mqtt:localhost/rig-3", mqtt.Broker("localhost", 1883, "rig-3")),
        ("mqtt:10.0.0.2:1884/a", mqtt.Broker("10.0.0.2", 1884, "a")),
        ("mqtt:host/a?tls=&user=me", mqtt.Broker("host", 8883, "a", "me", None, "")),
    ],
)
def test_a_broker_is_named_in_one_word(spec, broker):
    assert mqtt.read_broker(spec) == broker
    assert mqtt.read_broker(spec).root == f"streamscope/1/{broker.rig}"


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "mqtt:",
            "mqtt:host:x/rig",
            "mqtt:host:99999/rig",
            "mqtt:host/a/b",
            "mqtt:host/#",
            "mqtt:host/+",
            "mqtt:host/..",
        ),
        *("mqtt:host/$SYS", "mqtt:host/rig?password=/no/such/file", "mqtt:host/rig?tls=/no/such/file"),
        "mqtt:host/rig?secret=1",
    ],
)
def test_wildcards_paths_and_nonsense_are_no_broker(spec):
    with pytest.raises(ConfigError):
        mqtt.read_broker(spec)


def test_a_password_is_read_from_a_file_and_never_shown(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n")
    spec = f"mqtt:127.0.0.1:9/rig?user=me&password={tmp_path}/secret"
    assert mqtt.read_broker(spec).password == "hunter2"
    assert "hunter2" not in repr(mqtt.read_broker(spec))


def test_a_broker_that_is_not_there_delays_nothing():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reports = Reports()
    start = time.monotonic()
    output = mqtt.open_output(f"mqtt:127.0.0.1:{port}/rig", "mqtt", reports.append)
    taken = sum(output.write(decision(k)) for k in range(200))
    assert time.monotonic() - start < 2
    assert taken == 200
    assert "cannot be reached" in reports.troubles(1)[0]
    start = time.monotonic()
    output.close()
    assert time.monotonic() - start < 3
    assert output.describe()["written"] == 0


class Broker:
    """A mosquitto on a free port."""

    def __init__(self, folder, port=None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port or probe.getsockname()[1]
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.skip("needs mosquitto")
        self.process = subprocess.Popen([program, "-c", config], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def end(self):
        self.process.terminate()
        self.process.wait(10)


class Watcher(threading.Thread):
    """Subscribes to everything of every rig and keeps what comes."""

    def __init__(self, port) -> None:
        super().__init__(daemon=True)
        self.port, self.got, self.ready, self.end = port, [], threading.Event(), False
        self.start()
        assert self.ready.wait(10)

    def run(self):
        async def listen():
            import aiomqtt

            async with aiomqtt.Client("127.0.0.1", self.port) as client:
                await client.subscribe("streamscope/#", qos=1)
                self.ready.set()
                async for message in client.messages:
                    self.got.append((str(message.topic), message.payload, message.qos, message.retain))

        try:
            asyncio.run(listen())
        except Exception:
            self.end = True

    def of(self, name):
        return [m for m in self.got if m[0] == f"streamscope/1/rig-3/{name}"]

    def until(self, name, condition=bool):
        deadline = time.monotonic() + 15
        while not condition(self.of(name)):
            assert time.monotonic() < deadline, self.got
            time.sleep(0.01)
        return self.of(name)


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.end()


def values(message):
    return json.loads(message[1])


@pytest.mark.system
def test_a_real_broker_gets_birth_decisions_metrics_and_goodbye(broker):
    watcher, reports = Watcher(broker.port), Reports()
    output = mqtt.open_output(f"mqtt:127.0.0.1:{broker.port}/rig-3", "mqtt", reports.append)
    assert values(watcher.until("status")[0])["online"] is True
    for number in range(50):
        assert output.write(decision(number))
    got = watcher.until("event/trigger", lambda m: len(m) == 50)
    assert sorted(values(m)["number"] for m in got) == list(range(50))
    assert {(qos, retain) for _, _, qos, retain in got} == {(1, False)}
    first = values(got[0])
    assert (first["rule"], first["inputs"]) == ("licks", {"cell": 4.5, "head": None})
    assert len({values(m)["event"] for m in got}) == 50
    done = reports.until(50)
    assert all(r.t_acknowledged_ns >= r.t_written_ns > 0 for r in done)
    assert values(watcher.until("metrics")[0]).keys() >= {"written", "dropped", "latency_ms", "armed"}

    late = Watcher(broker.port)  # what is retained reaches who comes late, and nothing else does
    assert values(late.until("meta")[0])["layout"] == 1
    assert values(late.until("session")[0]).keys() == {"id", "started_unix_s"}
    assert late.until("status")[0][2:] == (1, True)
    output.close()
    assert values(watcher.until("status", lambda m: len(m) == 2)[1]) == {"online": False}
    assert watcher.until("session", lambda m: len(m) == 2)[1][1] == b""
    assert late.of("event/trigger") == []
    after = Watcher(broker.port)
    assert values(after.until("status")[0]) == {"online": False}
    assert after.of("session") == []


@pytest.mark.system
def test_a_broker_that_dies_and_returns_hears_the_birth_again_and_what_waited(broker, tmp_path, monkeypatch):
    monkeypatch.setattr(mqtt, "_FIRST_RETRY_S", 0.1)
    reports = Reports()
    output = mqtt.open_output(f"mqtt:127.0.0.1:{broker.port}/rig-3", "mqtt", reports.append)
    output.write(decision(0))
    reports.until(1)
    broker.end()
    output.write(decision(1))
    assert "cannot be reached" in reports.troubles(1)[-1]
    again = Broker(tmp_path, broker.port)
    try:
        watcher = Watcher(again.port)
        assert values(watcher.until("status")[-1])["online"] is True
        assert values(watcher.until("event/trigger")[0])["number"] == 1
        assert reports.until(2)[-1].number == 1
        assert reports.troubles(2)[-1] == ""
        output.close()
    finally:
        again.end()


@pytest.mark.system
def test_the_will_says_that_a_rig_that_was_cut_off_is_offline(broker):
    code = (
        "import sys, time\n"
        "from streamscope_drivers.outputs import mqtt\n"
        "mqtt.open_output(sys.argv[1], 'mqtt', lambda report: None)\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    import sys

    watcher = Watcher(broker.port)
    command = [sys.executable, "-c", code, f"mqtt:127.0.0.1:{broker.port}/rig-3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        watcher.until("status")
        process.kill()
    got = watcher.until("status", lambda m: len(m) == 2)
    assert [values(m)["online"] for m in got] == [True, False]


@pytest.mark.system
def test_an_lsl_inlet_gets_each_decision_with_the_time_of_its_frame():
    pylsl = pytest.importorskip("pylsl")
    reports = Reports()
    name = f"StreamScope-test-{time.perf_counter_ns()}"
    output = lsl.open_output(f"lsl:{name}", "lsl", reports.append)
    found = pylsl.resolve_byprop("name", name, timeout=10)
    assert (len(found), found[0].type(), found[0].nominal_srate()) == (1, "Markers", 0.0)
    inlet = pylsl.StreamInlet(found[0])
    inlet.open_stream(timeout=10)
    ahead_s = pylsl.local_clock() - time.perf_counter()
    sent = [decision(number) for number in range(5)]
    for one in sent:
        assert output.write(one)
    for one in sent:
        sample, stamp = inlet.pull_sample(timeout=10)
        assert json.loads(sample[0])["number"] == one.number
        assert stamp - ahead_s == pytest.approx(one.t_capture_ns / 1e9, abs=2e-3)
    reports.until(5)
    inlet.close_stream()
    output.close()


@pytest.mark.parametrize("spec", ["lsl:", "lsl", "lsl:" + "x" * 101, "lsl:a\x1b[2J"])
def test_a_stream_needs_a_name(spec):
    with pytest.raises(ConfigError, match="names no stream"):
        lsl.open_output(spec, "lsl", Reports().append)
