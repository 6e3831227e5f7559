import pytest

# Failing asserts of what tests share say as much as their own.
pytest.register_assert_rewrite("tests.drivers", "tests.making", "tests.parity", "tests.stand_ins")
