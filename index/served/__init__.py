"""An index that another program serves over HTTP (``latent serve``)."""
