"""The endpoints, one file for each family of them; `moalign.serving.api.create_app` puts them together."""
