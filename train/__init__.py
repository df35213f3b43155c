"""Training of models. The only room that imports torch."""
