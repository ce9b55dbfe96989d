"""The commands: options, checks, help and errors in one line; nothing heavy is imported."""
