"""FLOAT as plain torch modules; no file, network or command-line access."""
