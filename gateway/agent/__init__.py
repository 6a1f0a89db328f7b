"""The agent's side: a local door to the gateway, for programs that know neither tokens nor TLS."""
