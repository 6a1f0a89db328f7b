"""The demonstration: the whole product on embedded parts of this machine, and nothing left behind."""
