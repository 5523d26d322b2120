"""What each database says of itself: its URL, its passwords, its connections."""
