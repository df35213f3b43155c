"""How a model comes to be. The only room that imports torch."""
