"""The one exception for input that the user can mend."""


class InputError(ValueError):
  """Bad input from outside: a file, a flag, an array, a checkpoint.

  Its message is one line that names the file, key, shape or value at fault and
  how to mend it. `unirep.main` prints that line and exits with code 2; every
  other exception is a defect of ours and keeps its traceback.
  """

  exit_code = 2
