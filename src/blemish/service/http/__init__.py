"""What may come in over HTTP, and how what may not is answered; the server itself."""
