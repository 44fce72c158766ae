"""Training: settings, loop, step, schedule, and what is looked at meanwhile."""
