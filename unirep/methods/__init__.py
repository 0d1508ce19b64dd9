"""Methods: networks, their assignment of codes, and the recipe of a step."""
