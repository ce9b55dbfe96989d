"""How faithful synthetic pictures are."""
