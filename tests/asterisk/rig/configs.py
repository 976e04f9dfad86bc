"""The configuration of one Asterisk instance, as text: pure, and no more than ExternalIVR and its callers need.

The rule here: every module is named and `require`d, so that an Asterisk that could not load one ends at once with a
line that says which, and a start takes half a second. Contexts named `rig-…` are the rig's; all others are the test's.
"""

from __future__ import annotations

import re

_BASE_MODULES = """
    pbx_config app_externalivr app_senddtmf app_verbose app_exec app_db app_playback app_read app_record app_stack
    app_userevent app_system app_dial func_logic func_callerid func_channel func_db func_cut func_strings func_cdr
    func_math func_global func_env format_gsm format_wav format_pcm codec_gsm codec_ulaw codec_alaw bridge_simple
    bridge_softmix bridge_builtin_features bridge_holding chan_bridge_media res_timing_timerfd res_clioriginate
"""
_SIP_MODULES = """
    res_pjproject res_sorcery_astdb res_sorcery_config res_sorcery_memory res_pjsip res_pjsip_session res_pjsip_pubsub
    chan_pjsip res_pjsip_sdp_rtp res_pjsip_endpoint_identifier_ip res_pjsip_caller_id res_pjsip_dtmf_info
    res_pjsip_rfc3326 res_pjsip_authenticator_digest res_rtp_asterisk
"""

#: A caller for calls without SIP: `Local/press_1000_12#_250_2@rig-caller` answers, waits 1,000 ms, presses 1, 2 and #
#: with 250 ms between keys, waits 2 s and hangs up; see `Asterisk.call`. Who stays a while is heard after the keys:
#: on a busy machine Asterisk reads two keys at once, plays the second one out anew, and ends that only at a sound.
_CALLER = """
[rig-caller]
exten => _press_.,1,Answer()
 same => n,Wait($[${CUT(EXTEN,_,2)} / 1000])
 same => n,ExecIf($[${LEN(${CUT(EXTEN,_,3)})} > 0]?SendDTMF(${CUT(EXTEN,_,3)},${CUT(EXTEN,_,4)}))
 same => n,ExecIf($[${CUT(EXTEN,_,5)} >= 3]?Playback(silence/1))
 same => n,Wait(${CUT(EXTEN,_,5)})
 same => n,Hangup()
"""


def asterisk_conf(module_dir: str) -> str:
    """`asterisk.conf`: Debian's directories, with `module_dir` (it differs between releases of Debian)."""
    return f"""
[directories]
astetcdir => /etc/asterisk
astmoddir => {module_dir}
astvarlibdir => /var/lib/asterisk
astdbdir => /var/lib/asterisk
astkeydir => /var/lib/asterisk
astdatadir => /usr/share/asterisk
astagidir => /usr/share/asterisk/agi-bin
astspooldir => /var/spool/asterisk
astrundir => /var/run/asterisk
astlogdir => /var/log/asterisk

[options]
nocolor = yes
hideconnect = yes
"""


def modules_conf(*, sip: bool) -> str:
    """`modules.conf` with the rig's modules, PJSIP's among them if `sip`."""
    wanted = (_BASE_MODULES + (_SIP_MODULES if sip else "")).split()
    return "[modules]\nautoload = no\n" + "".join(f"require = {name}.so\n" for name in wanted)


def extensions_conf(dialplan: str) -> str:
    """`extensions.conf`: the test's own `dialplan` and the rig's contexts; raises `ValueError` where the two would
    collide.
    """
    if re.search(r"^\s*\[rig-", dialplan, re.MULTILINE):
        raise ValueError("contexts named rig-… are the rig's own: choose another name in the dialplan")
    return f"[general]\nautofallthrough = yes\n{dialplan}\n{_CALLER}"


def pjsip_conf(port: int) -> str:
    """`pjsip.conf`: whoever calls from this machine lands in context `from-sip`; `port` is UDP on 127.0.0.1."""
    return f"""
[global]
type = global
user_agent = asterisk

[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{port}

[sipp]
type = endpoint
context = from-sip
disallow = all
allow = ulaw
dtmf_mode = rfc4733
direct_media = no
rtp_symmetric = no

[sipp]
type = identify
endpoint = sipp
match = 127.0.0.1
"""


#: Files that are the same for every instance. The file `messages.log` has verbose lines up to 2, so that a dialplan's
#: own `Verbose(1,…)` is there and pbx's "Executing …" (3), which repeats every argument, is not. The empty files are
#: those whose absence Asterisk 22 logs as an error: a warning in the log is then news.
FIXED = {
    "logger.conf": """
[general]
dateformat = %F %T.%3q
logger_queue_limit = 100000

[logfiles]
messages.log => notice,warning,error,verbose(2)
""",
    "rtp.conf": "[general]\nrtpstart = 10000\nrtpend = 19999\n",  # SIPp's ports are above, see sip.py
    "indications.conf": "[general]\ncountry = us\n[us]\ndescription = US\nring = 440+480/2000,0/4000\n",
    "cdr.conf": "[general]\nenable = yes\n",
    **{f"{name}.conf": "" for name in ("acl", "ccss", "cel", "features", "manager", "pjproject", "udptl")},
}
