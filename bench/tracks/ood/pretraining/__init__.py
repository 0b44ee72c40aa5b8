"""How the dual encoder of the laptop's tasks was trained, on pairs of pictures and captions."""
