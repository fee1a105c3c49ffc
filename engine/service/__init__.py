"""What may be done, by whom. The API, the chats and the dashboard all come through here, with the same checks."""
