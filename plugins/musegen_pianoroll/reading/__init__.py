"""From MIDI and Lakh pianoroll files to notes on a grid."""
