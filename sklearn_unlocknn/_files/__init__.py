"""Model files: JSON and arrays in a zip file, read without pickle."""
