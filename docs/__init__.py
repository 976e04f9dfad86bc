"""The documentation, and the generator of what in it is made from the code: `python -m docs.generate`."""
