"""`python -m unirep`: the command line."""

from unirep import command

if __name__ == "__main__":
  command.main()
