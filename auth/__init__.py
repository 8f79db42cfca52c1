"""Who may call, and how often: keys, which are made on the server, and the rates of keys."""
