"""The streaming runner: long-lived Ray actors over live sources and files, with bounded delay."""
