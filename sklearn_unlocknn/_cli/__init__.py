"""The command ``unlocknn``."""
