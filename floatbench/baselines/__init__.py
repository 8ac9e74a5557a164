"""One folder per system: manifest, driver, lock, notes."""
