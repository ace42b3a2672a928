"""Reports on a model and a data set, as one HTML file."""
