"""Models of other protocols, searched by the explorer that searches ours: a check of the explorer, not of them."""
