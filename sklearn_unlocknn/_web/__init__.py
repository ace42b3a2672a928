"""The web page of a model: ``unlocknn serve``."""
