"""A worker process (AnyIO): holds many calls at once and runs the app, one task per call."""
