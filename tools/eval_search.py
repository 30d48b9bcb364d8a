#!/usr/bin/env python
"""Evaluate a checkpoint or score a predictions file; see clsa-eval."""

from clsa_search.commands.eval_search import main

if __name__ == "__main__":
    main()
