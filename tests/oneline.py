"""What every message for the user must be."""

BANNED = "Traceback", "allow_pickle"


def check(message: object) -> str:
  """The message, or an error's: one line of our own words."""
  text = str(message)
  assert text, "nothing was said"
  assert text.isprintable(), repr(text)  # no line break, no control character
  for word in BANNED:
    assert word not in text, text
  return text
