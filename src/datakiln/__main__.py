"""`python -m datakiln train ...`: the console command, where it is not on the path."""

from datakiln.cli.main import main

if __name__ == "__main__":
    main()
