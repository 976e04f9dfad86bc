"""The dashboard, made from typed Python: `python -m grafana.generate`."""
