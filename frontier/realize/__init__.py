"""Turn a weight vector into a model: exact adapter mixing and export."""
