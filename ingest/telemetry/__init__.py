"""What operators see: log lines, figures, crash reports. Nothing that a client wrote is among it."""
