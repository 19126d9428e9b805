"""What trains: a command per file, and its parts under its own name."""
