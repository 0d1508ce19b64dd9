"""`python -m unirep`: the command line."""

from unirep import main

if __name__ == "__main__":
  main.main()
