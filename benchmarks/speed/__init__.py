"""Where speed is known: what this project's own code takes, beside what the machine could do."""
