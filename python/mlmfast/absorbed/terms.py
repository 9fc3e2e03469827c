"""F tests of terms."""
