"""`python -m unirep.main`: the command line.

python -m unirep.main --config=configs/pretrain.py --workdir=DIR
"""

from unirep import command

if __name__ == "__main__":
  command.main()
