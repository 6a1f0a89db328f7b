"""The configuration: `gateway.toml`, overridden by `HOOP_…` variables, as frozen values.

`load` promises that what it returns is complete and consistent: every key is known, every path is absolute, no secret
stands in it in plain text, and nothing in it asks for a feature that is not built. Anything else is a
`ConfigurationFault` whose words name the key and never a value that could be a secret. This package never fetches a
secret and never opens a connection.
"""

from gateway.settings.load import SettingsFault, load
from gateway.settings.tables import Settings
from gateway.settings.units import Endpoint, parse_duration, parse_size

__all__ = ["Endpoint", "Settings", "SettingsFault", "load", "parse_duration", "parse_size"]
