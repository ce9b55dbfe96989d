"""Speed and memory of datakiln beside plain loops and other libraries: `make bench`."""

import importlib

importlib.import_module("src")  # what is measured is the code of this clone, whatever is installed
