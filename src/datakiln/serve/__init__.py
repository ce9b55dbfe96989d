"""A web page and an API over the commands: the only room that imports fastapi."""
