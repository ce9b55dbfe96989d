"""How faithful synthetic tables are."""
