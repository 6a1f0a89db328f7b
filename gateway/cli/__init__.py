"""The commands of `hoop-gateway`: thin, each in its own module, heavy imports only where they run."""
