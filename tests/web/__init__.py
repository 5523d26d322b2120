"""What knows an application."""
