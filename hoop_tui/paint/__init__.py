"""Pure painting: frozen values in, lines of styled text out. No widget, no clock, no I/O."""
