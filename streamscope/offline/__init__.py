"""What happens after the session: refit, export."""
