"""Scheduled prompts: when they come (pure), what is due, and the task that keeps them."""
