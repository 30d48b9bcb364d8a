"""Command lines: each module parses arguments, calls the package and prints."""
