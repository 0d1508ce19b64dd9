"""Docstrings and pages say things plainly: few question words as nouns."""

import plain_words
import pytest

MOST = 0.3  # in 100 words


@pytest.mark.parametrize("kind", [".py", ".md"])
def test_question_words_are_rarely_nouns(kind):
  texts = [x for name, x in plain_words.pages().items() if name.endswith(kind)]
  found, total = map(sum, zip(*map(plain_words.count, texts), strict=True))
  assert total > 10_000
  assert 100 * found / total <= MOST, "python tests/plain_words.py says where"


def test_which_words_count():
  assert plain_words.count("It says what it does, and to whom.") == (2, 8)
  assert plain_words.count("The loss, which is a mean, in which x is 0") == (
    0,
    10,
  )
  assert plain_words.count("`what` is code") == (0, 3)
