"""The whole stack under Docker Compose, with faults: `make compose-test`. Needs a Docker Engine, and nothing else on
the ports 18001-18504."""
