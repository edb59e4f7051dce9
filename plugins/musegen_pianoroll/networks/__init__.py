"""Networks for rolls."""
