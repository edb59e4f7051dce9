"""From files of music (see ``formats``) to notes on a grid."""
