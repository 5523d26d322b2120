"""``asyncdb init``: finds the application and the models, and writes the configuration."""
