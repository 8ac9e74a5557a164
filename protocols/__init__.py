"""Protocol files (TOML) and their clip tables (CSV)."""
