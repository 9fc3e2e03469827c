"""Text of SAS to statements: tokens, options, effects, linear functions, a whole step."""
