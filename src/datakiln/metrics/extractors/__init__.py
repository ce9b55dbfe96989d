"""Networks that turn images into the features image metrics are made of, behind one interface."""
