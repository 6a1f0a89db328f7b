"""The console: what people see and decide of the gateway, through its control socket alone."""

__version__ = "0.1.0"
