"""The local socket between the gateway and its people: messages and framing without I/O, a Trio server and client.

Importing this package, `messages` or `framing` brings in neither Trio nor the configuration, so that the console may.
"""
