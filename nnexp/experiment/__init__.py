"""One run: resume, checkpoint, log, signals, environment."""
