"""Work on a source's parts, here or by workers elsewhere: bytes out, bytes back."""
