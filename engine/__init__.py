"""Transport, media and call control: sans-IO protocol objects below, a trio shell above them."""
