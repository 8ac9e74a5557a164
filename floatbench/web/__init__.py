"""The page on which FLOAT is tried: a photograph and a sound in a browser, on this machine."""
