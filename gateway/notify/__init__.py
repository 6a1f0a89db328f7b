"""Telling people who are not looking: notifications and webhooks about held operations, behind a durable outbox."""
