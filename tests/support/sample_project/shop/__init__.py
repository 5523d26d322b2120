"""A project that uses the plugin."""
