"""The order of steps, made durable."""
