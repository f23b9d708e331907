"""The embedded default: a small world that the whole pipeline runs on."""
