"""How an I2C packet travels to the DAQ: in three 16-bit UVC controls, or in a slot of its extension unit.

A packet is the 8-bit write address of a chip and up to five bytes for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from streamscope.errors import ConfigError

LONGEST = 6  # bytes of a packet
SLOTS = 4  # packets in one write to the extension unit

DAQ = 0xFE  # address of the DAQ itself
START_ORIENTATION = bytes((DAQ, 0x00))

Words: TypeAlias = tuple[int, int, int]  # CONTRAST, GAMMA, SHARPNESS, written in this order


@dataclass(frozen=True, slots=True)
class Control:
    """One write to a UVC control, as the firmware of before 2020 is set with."""

    property: int  # OpenCV's number
    value: int


Command: TypeAlias = bytes | Control  # a packet, or a plain control


def wire_bytes(packet: bytes) -> bytes:
    """Return the six bytes that carry a packet.

    Up to five bytes go with their number after the address; six fill the place, and bit 0 of the address says so.

    Raises
    ------
    ConfigError
        If the packet is empty or too long, or its address is no write address.
    """
    if not 1 <= len(packet) <= LONGEST:
        raise ConfigError(
            f"a packet of {len(packet)} bytes came, expected 1 to {LONGEST}; split what it should set"
        )
    if packet[0] & 1:
        raise ConfigError(f"0x{packet[0]:02X} is no 8-bit write address, expected an even one; shift it left")
    if len(packet) == LONGEST:
        return bytes((packet[0] | 1,)) + packet[1:]
    return bytes((packet[0], len(packet))) + packet[1:] + bytes(5 - len(packet))


def words(packet: bytes) -> Words:
    """Return the values of CONTRAST, GAMMA and SHARPNESS that carry a packet."""
    b = wire_bytes(packet)
    return (b[0] | b[1] << 8, b[2] | b[3] << 8, b[4] | b[5] << 8)


def packet_of(carried: Words) -> bytes:
    """Return the packet that three words carry, for logs and tests."""
    b = b"".join(word.to_bytes(2, "little") for word in carried)
    if b[0] & 1:
        return bytes((b[0] & 0xFE,)) + b[1:]
    return b[:1] + b[2 : b[1] + 1]


def slots(packets: list[bytes]) -> list[bytes]:
    """Return the writes to the extension unit that carry packets, four to each, in order; 25 bytes each."""
    writes = []
    for start in range(0, len(packets), SLOTS):
        batch = [wire_bytes(packet) for packet in packets[start : start + SLOTS]]
        body = b"".join(batch)
        writes.append(bytes((len(batch),)) + body + bytes(SLOTS * LONGEST - len(body)))
    return writes
