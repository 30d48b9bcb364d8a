"""Speed benchmark: time, memory and operation counts beside the limits of the machine."""
