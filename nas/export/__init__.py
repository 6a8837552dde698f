"""Taking a network away: each format writes it, reads it back as a stranger would, and is compared with the source."""
