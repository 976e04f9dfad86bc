"""SIP callers: SIPp with a scenario made for the test: it presses keys by RFC 4733 and counts what became of its calls.

The rule here: a call succeeded only if it was answered, pressed every key, and ended in order: by Asterisk's BYE, or
by the caller's own after `hold_s` seconds. Everything else SIPp counts as failed, and says why in
`SippResult.errors`.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.asterisk.rig.dtmf_pcap import KEY_S, PAYLOAD_TYPE, key_presses
from tests.asterisk.rig.roots import which
from tests.asterisk.rig.server import Asterisk, free_udp_port

# The first of 10,000 ports that calls share out between them, beyond those of Asterisk (rtp.conf) and below Linux's
# free ones.
_MEDIA_PORT = 20000

_HEADERS = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "{caller}" <sip:{number}@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>{to_tag}
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:{number}@[local_ip]:[local_port]>
Max-Forwards: 70
"""
_OFFER = """Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0 {payload}
a=rtpmap:0 PCMU/8000
a=rtpmap:{payload} telephone-event/8000
a=fmtp:{payload} 0-15
a=ptime:20
"""


@dataclass(frozen=True)
class SippResult:
    """What became of the calls of one run.

    Attributes:
        calls: calls placed.
        succeeded: those that went as the scenario says.
        failed: the others.
        failures: how many failed for each of SIPp's reasons (`UnexpectedMessage`, `MaxUDPRetrans`, …), only those
            that occurred.
        answer_s: mean time from INVITE to answer, in seconds.
        length_s: mean length of a call, in seconds.
        peak: most calls at once, as seen each second.
        errors: SIPp's own messages, at most 2,000 characters; late repetitions are among them, and mean no failure.
    """

    calls: int
    succeeded: int
    failed: int
    failures: dict[str, int]
    answer_s: float
    length_s: float
    peak: int
    errors: str


class Sipp:
    """SIPp at work on an Asterisk that was started with `sip=True`; use it as a context manager, or see `run_sipp`.

    Args:
        asterisk: the one to call.
        extension: what to dial in its context `from-sip`.
        keys: what each caller presses: seconds since the answer or the key before (at least 0.2), and the key.
        rate: new calls a second.
        calls: how many in all.
        hold_s: how long the caller waits for Asterisk to hang up, after the last key, before doing so itself.
        caller: caller-ID name.
        number: caller-ID number.

    Raises:
        RigUnavailable: SIPp is not installed.
        ValueError: a key or a gap that cannot be.
    """

    def __init__(
        self,
        asterisk: Asterisk,
        extension: str,
        *,
        keys: Sequence[tuple[float, str]] = (),
        rate: float = 1.0,
        calls: int = 1,
        hold_s: float = 10.0,
        caller: str = "SIPp",
        number: str = "100",
    ) -> None:
        if not asterisk.sip_port:
            raise ValueError("this Asterisk has no SIP: start it with sip=True")
        sipp = which("sipp")
        presses = key_presses(keys)
        until_last_s = sum(gap for gap, _ in keys)
        self._deadline_s = calls / rate + until_last_s + hold_s + 60
        scenario = scenario_xml(until_last_s=until_last_s, hold_s=hold_s + KEY_S, caller=caller, number=number)
        self._dir = Path(tempfile.mkdtemp(prefix="ivrd-sipp-"))
        (self._dir / "keys.pcap").write_bytes(presses)
        (self._dir / "scenario.xml").write_text(scenario, encoding="utf-8")
        command = [
            sipp, f"127.0.0.1:{asterisk.sip_port}", "-sf", "scenario.xml", "-s", extension, "-i", "127.0.0.1",
            "-p", str(free_udp_port()), "-mp", str(_MEDIA_PORT), "-r", str(rate), "-m", str(calls), "-l", str(calls),
            "-nostdin", "-skip_rlimit", "-trace_stat", "-stf", "stat.csv", "-fd", "1s", "-trace_err",
            "-error_file", "errors.log",
        ]  # fmt: skip
        with open(self._dir / "screen.txt", "wb") as screen:
            self._process = subprocess.Popen(
                command, cwd=self._dir, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> SippResult:
        """Wait until the last call is over and return the counts; raises `RuntimeError` where SIPp itself failed or
        hung.
        """
        try:
            code = self._process.wait(self._deadline_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"SIPp was not done after {self._deadline_s:.0f} s: {self._errors()}") from None
        if code not in (0, 1):  # 1: some calls failed
            screen = (self._dir / "screen.txt").read_text(errors="replace")
            raise RuntimeError(f"SIPp ended with {code}: {self._errors()} {screen[-500:]}")
        with open(self._dir / "stat.csv", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        last = rows[-1]
        failures = {
            name.removeprefix("Failed").removesuffix("(C)"): int(number)
            for name, number in last.items()
            if name and re.fullmatch(r"Failed.+\(C\)", name) and name != "FailedCall(C)" and int(number)
        }
        return SippResult(
            calls=int(last["TotalCallCreated"]),
            succeeded=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            failures=failures,
            answer_s=_seconds(last["ResponseTime1(C)"]),
            length_s=_seconds(last["CallLength(C)"]),
            peak=max(int(row["CurrentCall"]) for row in rows),
            errors=self._errors(),
        )

    def stop(self) -> None:
        """Kill SIPp if it still runs (its calls then hang in the air) and remove its files. May be called again."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._dir, ignore_errors=True)

    def _errors(self) -> str:
        file = self._dir / "errors.log"
        return file.read_text(errors="replace")[:2000] if file.exists() else ""


def run_sipp(
    asterisk: Asterisk,
    extension: str,
    keys: Sequence[tuple[float, str]] = (),
    rate: float = 1.0,
    calls: int = 1,
    hold_s: float = 10.0,
) -> SippResult:
    """Place `calls` SIP calls to `extension` and return what became of them when the last is over; arguments as
    `Sipp` has them.
    """
    with Sipp(asterisk, extension, keys=keys, rate=rate, calls=calls, hold_s=hold_s) as sipp:
        return sipp.wait()


def scenario_xml(*, until_last_s: float, hold_s: float, caller: str, number: str) -> str:
    """The scenario of one caller as SIPp's XML; plays `keys.pcap` from the answer on, whose last key begins after
    `until_last_s`.

    A BYE counts as in order from then on: an app may well hang up the moment the last key is let go. 0 is for no keys
    at all.
    """
    names = {"caller": caller.replace('"', ""), "number": number}
    play = '<nop><action><exec play_pcap_audio="keys.pcap"/></action></nop>\n'
    press = f'{play}<pause milliseconds="{round(until_last_s * 1000)}"/>' if until_last_s else ""

    def request(method: str, cseq: int, *, to_tag: str = "[peer_tag_param]", body: str = "Content-Length: 0\n") -> str:
        first = f"{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n"
        return f"<![CDATA[\n{first}{_HEADERS.format(method=method, cseq=cseq, to_tag=to_tag, **names)}{body}\n]]>"

    return f"""<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
<send retrans="500" start_rtd="1">{request("INVITE", 1, to_tag="", body=_OFFER.format(payload=PAYLOAD_TYPE))}</send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="183" optional="true"/>
<recv response="200" rtd="1" rrs="true"/>
<send>{request("ACK", 1)}</send>
{press}
<recv request="BYE" timeout="{round(hold_s * 1000)}" ontimeout="bye"/>
<send next="end"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<label id="bye"/>
<send retrans="500">{request("BYE", 2)}</send>
<recv response="200"/>
<label id="end"/>
</scenario>
"""


def _seconds(text: str) -> float:
    """SIPp's `00:00:02:013000` (hours, minutes, seconds, microseconds) in seconds."""
    hours, minutes, seconds, micros = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds + micros / 1e6
