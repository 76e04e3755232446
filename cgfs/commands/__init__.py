"""One module for each command: its arguments, and what it prints. What it does stands in cgfs/."""
