"""What every message for the user must be."""

BANNED = "Traceback", "allow_pickle"


def check(message):
  """Asserts that a message, or an error's, is one line of our own words."""
  text = str(message)
  assert text
  assert text.isprintable(), repr(text)  # no line break, no control character
  for word in BANNED:
    assert word not in text, text
