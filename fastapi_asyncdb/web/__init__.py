"""What knows an application: its lifespan and its routes."""
