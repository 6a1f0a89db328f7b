"""Worker processes: what they and the supervisor say to each other, and both ends of that."""
