"""The pages of the site: examples, links, the reference."""
