"""Model bundles: pictures to codes, codes to pictures."""
