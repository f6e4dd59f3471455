"""What the README links to, and what writes its tables."""
