"""What a refusal must be."""


def check(message: str) -> str:
  """The message, which is one line without what a terminal obeys."""
  assert message, "nothing was said"
  assert message.isprintable(), repr(message)
  assert "Traceback" not in message
  return message
