"""Apps to copy from, each run for real by the tests, and `python -m examples.demo`, which shows one at work."""
