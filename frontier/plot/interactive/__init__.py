"""The parts of an interactive page: one file a picture, and the document that holds them. `frontier.plot.front_page` puts them together."""
