"""Key presses as RTP events of RFC 4733, in a capture file that SIPp plays: pure, bytes from times and keys.

SIPp 3.6 has `play_dtmf`, but each such action starts its RTP time anew, so that Asterisk takes every key after the
first for a repetition (seen on the wire). The rule here: one file holds all the keys of a call, and its sequence
numbers and timestamps run on as a telephone's do.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

#: The RTP payload type of the events, as the SDP offer names it.
PAYLOAD_TYPE = 101
#: How long a key is held, in seconds, and how soon the next one may follow it.
KEY_S, MIN_GAP_S = 0.1, 0.2
#: How long silence is sent behind the last key, in seconds.
VOICE_S = 2.0

_EVENTS = "0123456789*#ABCD"  # RFC 4733, section 3.2: a key's number is its place
_RATE = 8000
_PACKET_S = 0.02
_VOICE_EVERY_S = 0.05
_VOLUME = 10
_END = 0x80
_SSRC = 0x1D7D


def key_presses(keys: Sequence[tuple[float, str]]) -> bytes:
    """A capture (pcap, Ethernet) with each key pressed so many seconds after the press before it (the first: after
    the start).

    Raises `ValueError` for a key that is none, or one that comes too soon after the one before.
    """
    # Native order and microseconds, as the magic number says.
    capture = [struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    pressed, sequence = 0.0, 0
    steps = round(KEY_S / _PACKET_S)
    # SIPp sends the first packet at once and keeps to the distances between packets: one of no key stands for the
    # start.
    capture.append(_packet(0.0, _rtp(0, 0, 0, b"\xff" * 160)))
    for gap, key in keys:
        if len(key) != 1 or key not in _EVENTS or gap < MIN_GAP_S:
            raise ValueError(
                f"({gap}, {key!r}): one key of {_EVENTS} each, at least {MIN_GAP_S} s after the one before"
            )
        pressed += gap
        # An event keeps the timestamp of its beginning and grows in duration; its end is said three times, for a lost
        # one is a stuck key.
        for step in [*range(1, steps + 1), steps, steps]:
            sequence += 1
            flags = (_END if step == steps else 0) | _VOLUME
            event = struct.pack("!BBH", _EVENTS.index(key), flags, round(step * _PACKET_S * _RATE))
            payload_type = PAYLOAD_TYPE | (0x80 if step == 1 else 0)
            at = pressed + step * _PACKET_S
            capture.append(_packet(at, _rtp(payload_type, sequence, round(pressed * _RATE), event)))
    # Behind the last key comes sound, as a telephone sends it all the time: on a busy machine Asterisk reads two keys
    # at once, plays the second one out anew, and ends that only when it hears something.
    for step in range(round(VOICE_S / _VOICE_EVERY_S) if keys else 0):
        sequence += 1
        at = pressed + MIN_GAP_S + step * _VOICE_EVERY_S
        capture.append(_packet(at, _rtp(0, sequence, round(at * _RATE), b"\xff" * 160)))
    return b"".join(capture)


def _rtp(payload_type: int, sequence: int, timestamp: int, payload: bytes) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type, sequence, timestamp, _SSRC) + payload


def _packet(at: float, payload: bytes) -> bytes:
    """One captured packet; SIPp puts its own addresses and ports on it."""
    udp = struct.pack("!HHHH", 6000, 6000, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0x7F000001, 0x7F000001)
    frame = bytes(12) + b"\x08\x00" + ip + udp
    at += 1.0  # to SIPp, a packet at 0 is none, and the wait after it is left out
    return struct.pack("=IIII", int(at), round(at % 1 * 1e6), len(frame), len(frame)) + frame
