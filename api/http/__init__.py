"""What happens to every request: routing, authentication, its body, its response, and problems."""
