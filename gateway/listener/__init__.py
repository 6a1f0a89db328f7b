"""The door: PostgreSQL clients accepted, TLS agreed on, and each brought to a token within the login time."""
