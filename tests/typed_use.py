"""What a user writes, right and wrong: `mypy` reads this file, nothing runs it.

A wrong call carries the error that it must have. A signature that accepts anything leaves that mark unused, and
mypy says so.
"""
