"""Packets against the golden bytes of the official program's own tests and tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamscope.errors import ConfigError
from streamscope_drivers.miniscope.packets import packet_of, slots, wire_bytes, words

GOLDEN = [
    ("C0 1F 10", (0x03C0, 0x101F, 0x0000)),
    ("C0", (0x01C0, 0, 0)),
    ("AA 01 02 03 04", (0x05AA, 0x0201, 0x0403)),
    ("B0 05 20 11 22 33", (0x05B1, 0x1120, 0x3322)),
    ("20 05 00 C9 13 88", (0x0521, 0xC900, 0x8813)),
    ("FE 00", (0x02FE, 0x0000, 0x0000)),
]


@pytest.mark.parametrize(("packet", "carried"), GOLDEN, ids=[packet for packet, _ in GOLDEN])
def test_a_packet_becomes_the_three_words_of_the_official_program(packet, carried):
    assert words(bytes.fromhex(packet)) == carried
    assert packet_of(carried) == bytes.fromhex(packet)


@given(st.binary(min_size=1, max_size=6))
def test_every_packet_comes_back_out_of_its_words(packet):
    packet = bytes((packet[0] & 0xFE,)) + packet[1:]
    assert packet_of(words(packet)) == packet


@pytest.mark.parametrize("packet", [b"", bytes(7), b"\xc1\x00"])
def test_what_no_packet_can_be_is_refused(packet):
    with pytest.raises(ConfigError, match="expected"):
        wire_bytes(packet)


def test_the_extension_unit_takes_four_packets_at_a_time():
    packets = [bytes((0xC0, n)) for n in range(6)]
    first, second = slots(packets)
    assert (len(first), len(second)) == (25, 25)
    assert (first[0], second[0]) == (4, 2)
    assert second == bytes.fromhex("02 C00204000000 C00205000000") + bytes(12)
