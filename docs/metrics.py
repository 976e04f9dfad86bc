"""The reference of metrics, made from the registry of a `Metrics` that serves one app.

The rule that holds here: names, types, help and label values come from the registry. What a word means is written here,
and a word of the registry that has no meaning here, or a meaning without a word, stops the generator.
"""

from __future__ import annotations

from prometheus_client.core import Metric

from ivrd.observe import series
from ivrd.observe.gauges import CALL_STATES, WORKER_STATES
from ivrd.observe.metrics import AppFigures, Metrics, Snapshot

_PAGE = """\
# Metrics
<!-- Made by `python -m docs.generate` from ivrd/observe: do not edit. -->

The daemon serves `http://127.0.0.1:9949/metrics` (key `metrics` of the configuration), for itself and for all its
workers: what workers count is added up each second and at the end of each call. `/healthz` answers 200 while the
daemon's loop turns. `/readyz` answers 200 when each app has a ready worker and ivrd is not draining, else 503 and a
line for each app.

Labels are bounded by the configuration: no label ever holds a channel, a caller or anything else that somebody outside
can choose. A word that is on none of the lists below is counted as `other`, an app that is not configured as `-`.

## Prometheus and Grafana
The recording rules and alerts are in [deploy/prometheus](../deploy/prometheus). Copy `ivrd.rules.yml` and
`ivrd.alerts.yml` to `/etc/prometheus`, and say in `prometheus.yml`, where the job has to be named `ivrd`:

```yaml
scrape_configs:
  - job_name: ivrd
    static_configs:
      - targets: ["127.0.0.1:9949"]
rule_files:
  - /etc/prometheus/ivrd.rules.yml
  - /etc/prometheus/ivrd.alerts.yml
```

Then `promtool check config /etc/prometheus/prometheus.yml` and `systemctl reload prometheus`. For a Prometheus on
another machine let `metrics` listen at an address that it can reach, and nobody else. [The runbook](runbook.md) says
what to do about each alert; [grafana](../grafana/README.md) has a dashboard.

## The metrics

| metric | type | labels | what it is |
|---|---|---|---|
"""

_RESULTS = {
    "completed": "the app returned, or called `call.exit()`; the dialplan went on",
    "hangup": "the caller hung up, or the app did by `call.hangup()`",
    "rejected": "no place (`on_overload`), or no worker that starts",
    "app_error": "the handler raised (`on_error`)",
    "worker_died": "the worker's process ended with the call in it (`on_crash`)",
    "timeout": "`max_duration` or `idle_timeout` (`on_timeout`)",
    "operator": "`ivrd hangup`",
    "drained": "still up at the end of `drain_timeout`",
}
_CALL_STATES = {
    "admitted": "taken over from the shim a moment ago",
    "queued": "waits for a place",
    "starting": "handed to a worker that has not confirmed it yet",
    "running": "with its worker",
    "resetting": 'being cleaned of what a dead worker left, to begin anew (`on_crash = "retry"`)',
    "ending": "told to end; Asterisk has not closed yet",
}
_WORKER_STATES = {
    "starting": "importing the app, entering its lifespan",
    "ready": "takes calls",
    "retiring": "takes no new calls and goes after its last one",
    "stopping": "was told to end now",
}
_EXITS = {
    "retired": "as planned: after a reload, recycled, or one too many",
    "failed": "told why it could not start or go on",
    "exited": "ended by itself, without a word: `os._exit()`, or a native library",
    "killed": "by a signal: the OOM killer, a crash in C, `kill`",
    "stuck": "missed its heartbeats for `heartbeat_timeout` and was killed",
    "unknown": "had been adopted from a daemon before this one, which alone could have known",
}
_REJECTS = {
    "unknown_app": "the configuration has no app of that name",
    "denied": "the shim's user is not in `allow_users`",
    "malformed": "no hello of this version, or not three descriptors of the right kind",
    "draining": "ivrd was stopping",
    **dict.fromkeys(
        ("unavailable", "overloaded", "crashed", "error", "timeout"),
        "stays 0: such a hand-over has become a call, which ends as `rejected`",
    ),
}
_REFUSALS = {
    "invalid_value": "could not be said to Asterisk safely (`InvalidValue`)",
    "call_ended": "the call was over (`CallEnded`)",
}
_WORDS = (
    ("`result` of calls", series.RESULTS, _RESULTS),
    ("`state` of calls", CALL_STATES, _CALL_STATES),
    ("`state` of workers", WORKER_STATES, _WORKER_STATES),
    ("`reason` of `ivrd_worker_exits_total`", series.EXIT_REASONS, _EXITS),
    ("`reason` of `ivrd_handoffs_rejected_total`", series.REJECT_REASONS, _REJECTS),
    ("`reason` of `ivrd_commands_refused_total`", series.REFUSAL_REASONS, _REFUSALS),
)


def families() -> list[Metric]:
    """All families of a daemon that serves one app."""
    metrics = Metrics(lambda: Snapshot(apps={"menu": AppFigures()}))
    metrics.set_apps(["menu"])
    return list(metrics.collect())


def name(family: Metric) -> str:
    """A family's name as it is queried, without `_bucket`, `_sum` and `_count`."""
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def page() -> str:
    """The page of the documentation."""
    rows = [f"| `{name(each)}` | {each.type} | {_labels(each)} | {each.documentation} |\n" for each in families()]
    parts = [_PAGE, *rows, "\n## Labels\n"]
    parts.append("`app` is an app's name. `transport` is how a call came: `pipe` by a shim, `tcp` by `ivr://`.\n")
    parts.append("`process` is `daemon`, or `worker` for the worst of all workers. `version` is ivrd's own.\n")
    parts.append(
        f"`tag` of events is one of {_list(series.EVENT_TAGS)}, of commands one of {_list(series.COMMAND_TAGS)}:\n"
    )
    parts.append("the letters of ExternalIVR's protocol, all keys together as `key`.\n")
    for title, words, meanings in _WORDS:
        if set(words) != set(meanings):
            raise ValueError(f"docs/metrics.py: {title}: mend the meanings of {set(words) ^ set(meanings)}")
        parts.append(f"\n### {title}\n\n| value | meaning |\n|---|---|\n")
        parts += [f"| `{word}` | {meanings[word]} |\n" for word in words]
    parts.append("\n## Buckets\nUpper bounds, in seconds; each histogram has `+Inf` as well.\n\n")
    parts.append("| histogram | buckets |\n|---|---|\n")
    parts += [f"| `{each.name}` | {', '.join(_bounds(each))} |\n" for each in families() if each.type == "histogram"]
    return "".join(parts)


def _labels(family: Metric) -> str:
    return ", ".join(f"`{label}`" for label in family.samples[0].labels if label != "le")


def _bounds(family: Metric) -> list[str]:
    bounds = dict.fromkeys(sample.labels["le"] for sample in family.samples if "le" in sample.labels)
    return [f"{float(bound):g}" for bound in bounds if bound != "+Inf"]


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)
