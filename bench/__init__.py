"""Speed and memory of datakiln beside plain loops and other libraries: `make bench`."""
