"""`make dashboard`."""

from monitoring.dashboard import PATH, text

if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
