"""The rules of calls and workers: pure, with the time as an argument."""
